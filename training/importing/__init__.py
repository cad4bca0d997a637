"""Import of models that were made elsewhere: ONNX graphs and torch modules become graphs of the package format."""
