"""What is recorded of each request: metrics, logs, traces, statistics."""
