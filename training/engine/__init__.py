"""The training loop and what it uses: losses, corruption, optimizer, checkpoints, several processes."""
