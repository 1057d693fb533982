"""PyTorch, LightGBM and ONNX Runtime behind one protocol."""
