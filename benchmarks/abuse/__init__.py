"""What the service does when it is treated badly: long trials, each a row that states how many and what happened."""
