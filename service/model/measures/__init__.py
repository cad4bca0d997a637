"""What is computed from samples, latents and reconstructions: scores, standard units, neighbours, largest features."""
