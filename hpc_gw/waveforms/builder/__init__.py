"""How the embedded surrogate file is made: design, SEOBNRv5HM waveforms, fits, and the build."""
