"""Training and measuring the embedded model (extra `train`)."""
