"""From a trained module to a model package: ONNX graphs, quantization, model card, provenance."""
