"""The REST interface /v1: request bodies, content negotiation, responses."""
