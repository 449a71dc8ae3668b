"""PyTorch definitions of the networks, their checkpoints and their tracing to ONNX (extra `torch`)."""
