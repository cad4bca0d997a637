"""Evaluation on held-out data: metrics, baselines, figures."""
