"""PyTorch definitions of the networks and their export to ONNX (extra `torch`)."""
