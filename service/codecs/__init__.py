"""File formats: bytes to pictures and arrays, and back."""
