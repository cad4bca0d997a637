"""Prometheus metrics."""

import logging
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.observability.metrics import Histogram
from tests.service.http import lines, metrics, npy, post, served


def test_requests_are_counted_by_model_operation_and_status(fresh: TestClient) -> None:
    for _ in range(3):
        assert post(fresh).status_code == 200
    assert post(fresh, "/v1/models/small/reconstruct", count=5).status_code == 200
    post(fresh, "/v1/models/invented-by-a-caller/encode")
    fresh.get("/livez")
    samples = metrics(fresh)
    assert samples["autoencoder_requests_total", "small", "encode", "200"] == 3
    assert samples["autoencoder_requests_total", "small", "reconstruct", "200"] == 1
    assert samples["autoencoder_requests_total", "", "encode", "404"] == 1
    assert sum(value for key, value in samples.items() if key[0] == "autoencoder_requests_total") == 5
    assert samples["autoencoder_refused_total", "unknown_model"] == 1
    assert samples["autoencoder_pixels_total", "small"] == 8 * 784
    assert samples["autoencoder_request_seconds_count", "small", "encode"] == 3
    for stage in ("receive", "decode", "queue", "run", "encode"):
        assert samples["autoencoder_stage_seconds_count", stage] == 4, stage
        assert 0 <= samples["autoencoder_stage_seconds_sum", stage] < 5, stage
    assert samples["autoencoder_batch_samples_count", "small"] == 4
    assert samples["autoencoder_batch_samples_sum", "small"] == 8
    assert samples["autoencoder_reconstruction_percentile_count", "small"] == 5
    assert samples["autoencoder_requests_inside",] == samples["autoencoder_pixels_inside",] == 0
    assert samples["autoencoder_items_waiting",] == samples["autoencoder_packages_refused",] == 0
    assert samples["autoencoder_model_info", "small", "fp32", "cpu", "1"] == 1
    assert samples["process_resident_memory_bytes",] > 1e6


def test_v2_is_counted_under_the_package_and_what_it_does(fresh: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tensor = {"name": "image", "shape": [2, 28, 28, 1], "datatype": "UINT8", "data": [7] * 1568}
    assert fresh.post("/v2/models/small.reconstruct/infer", json={"inputs": [tensor]}).status_code == 200
    assert fresh.post("/v2/models/small/versions/1/infer", json={}).status_code == 422
    assert fresh.post("/v2/models/invented.encode/infer", json={}).status_code == 404
    fresh.get("/v2/health/live")
    fresh.get("/v2/health/ready")
    samples = metrics(fresh)
    assert samples["autoencoder_requests_total", "small", "reconstruct", "200"] == 1
    assert samples["autoencoder_requests_total", "small", "denoise", "422"] == 1
    assert samples["autoencoder_requests_total", "", "infer", "404"] == 1
    assert sum(value for key, value in samples.items() if key[0] == "autoencoder_requests_total") == 3
    assert (
        samples["autoencoder_refused_total", "unknown_model"]
        == samples["autoencoder_refused_total", "invalid_input"]
        == 1
    )
    assert samples["autoencoder_pixels_total", "small"] == 2 * 784
    for stage, count in (("receive", 2), ("decode", 1), ("queue", 1), ("run", 1), ("encode", 1)):
        assert samples["autoencoder_stage_seconds_count", stage] == count, stage
    assert samples["autoencoder_batch_samples_sum", "small"] == 2
    assert samples["autoencoder_reconstruction_percentile_count", "small"] == 2
    logged_fields = [(line["model"], line["version"], line["operation"], line.get("reason")) for line in lines(caplog)]
    assert logged_fields == [
        ("small", "2", "reconstruct", None),
        ("small", "1", "denoise", "invalid_input"),
        ("", "", "infer", "unknown_model"),
    ]


def test_names_of_callers_never_become_labels(fresh: TestClient) -> None:
    for number in range(20):
        post(fresh, f"/v1/models/name-{number}/encode")
        post(fresh, f"/v2/models/name-{number}/infer")
        fresh.get(f"/v1/models/name-{number}")
    assert "name-" not in fresh.get("/metrics").text


def test_the_tiles_of_a_page_are_counted(fresh: TestClient, models: Path) -> None:
    name = "negative"
    answer = fresh.post(f"/v1/models/{name}/denoise", content=npy(np.zeros((40, 56, 3), np.uint8)))
    assert answer.status_code == 200, answer.text
    assert metrics(fresh)["autoencoder_batch_samples_sum", name] >= 1


def test_metrics_can_be_switched_off(models: Path) -> None:
    with served(models, metrics=False) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_a_histogram_counts_one_by_one_as_all_at_once() -> None:
    values = np.array([0.0, 10, 10.5, 20, 99, 100, 101, np.nan, 5])
    histogram_by_one, all_at_once = Histogram((10.0, 20.0, 100.0)), Histogram((10.0, 20.0, 100.0))
    for value in values.tolist():
        histogram_by_one.observe(value)
    all_at_once.observe_all(values)
    assert histogram_by_one.counts == all_at_once.counts == [3, 2, 2, 2]
    assert histogram_by_one.total == all_at_once.total == 345.5
    assert histogram_by_one.buckets == [("10.0", 3), ("20.0", 5), ("100.0", 7), ("+Inf", 9)]
