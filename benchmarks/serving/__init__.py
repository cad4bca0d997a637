"""Our service beside others that serve the same packages, and beside what the machine can do at all."""
