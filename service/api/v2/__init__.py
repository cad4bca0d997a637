"""The Open Inference Protocol /v2: routes, tensors, schemas."""
