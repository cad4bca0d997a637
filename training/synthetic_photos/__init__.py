"""Photographs with the noise of cameras, film and compression, made from clean ones."""
