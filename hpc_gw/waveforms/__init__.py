"""Waveforms behind one protocol: parameters (B, 3) to complex h22 (B, T)."""
