"""A page that computes recordings in the browser alone: its files, and ONNX Runtime for browsers that it runs on."""
