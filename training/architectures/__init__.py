"""Network modules in PyTorch."""
