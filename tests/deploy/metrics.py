"""The metrics that GET /metrics serves: name -> labels. Dashboard, alerts and autoscaler may use no others."""

HISTOGRAMS: dict[str, set[str]] = {
    "autoencoder_request_seconds": {"model", "operation"},
    "autoencoder_stage_seconds": {"stage"},
    "autoencoder_batch_samples": {"model"},
    "autoencoder_reconstruction_percentile": {"model"},
}

METRICS: dict[str, set[str]] = {
    "autoencoder_requests_total": {"model", "operation", "status"},
    "autoencoder_items_waiting": set(),
    "autoencoder_requests_inside": set(),
    "autoencoder_pixels_inside": set(),
    "autoencoder_pixels_total": {"model"},
    "autoencoder_refused_total": {"reason"},
    "autoencoder_model_info": {"model", "version", "provider", "precision"},
    "autoencoder_packages_refused": set(),
    # of prometheus_client
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    # of Prometheus itself
    "up": set(),
    **{f"{name}_{part}": labels for name, labels in HISTOGRAMS.items() for part in ("sum", "count")},
    **{f"{name}_bucket": labels | {"le"} for name, labels in HISTOGRAMS.items()},
}
