"""How fast it is, beside what the hardware can do; ratios of one run."""
