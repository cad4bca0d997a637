"""What a training step gets: augmented samples, crops, corruptions, pairs, recorrupted pairs."""
