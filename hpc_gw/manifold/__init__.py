"""The parameter space (q, s1, s2): physics, grids, draws, and the ids of their rows."""
