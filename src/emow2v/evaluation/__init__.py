"""How good a model is: against ratings or classes (`evaluate`), and how steady (`robustness`). Needs no PyTorch."""
