"""Learn dense gravitational-waveform manifolds, from a laptop to a supercomputer.

The system of Khan, Huerta & Das (arXiv:2004.09524): MPI generation of waveform
grids, a data-parallel WaveNet with leaf heads, and certified overlaps.
"""

__version__ = "0.1.0"
