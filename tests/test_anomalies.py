"""`?false_alarm_rate=`: what is asked for is what is obtained, from training to the answer; and how it is refused."""

import asyncio
import csv
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from service.app import create_app
from service.cli.main import main
from service.client import AsyncClient
from service.model import package
from service.model.errors import DigestMismatch, PackageError
from service.model.runtime import Model
from service.settings import Settings
from tests.drawings import build_small_recipe, waves
from tests.service import packages as doubles
from tests.service.http import IMAGE, NPY, npy, picture, refused, url
from tests.service.test_client import asked
from training import train_autoencoder
from training.data import datasets

FRESH = 4000
ASKED = url("reconstruct", "small") + "?false_alarm_rate="


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small`, which knows waves."""
    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "waves.npy", waves(12_000))
    recipe = build_small_recipe(folder / "waves.npy", {"optimization.epochs": 2})
    train_autoencoder.run(
        recipe, datasets.load(recipe.data), folder / "models" / "small", folder / "runs", torch.device("cpu")
    )  # fmt: skip
    return folder / "models"


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(models=trained)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubles.write_all(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_the_rate_asked_for_is_obtained_on_normal_data(client: TestClient, rate: float) -> None:
    held_out = client.get("/v1/models/small").json()["training"]["data"]["test"]
    fresh = waves(FRESH, seed=1)
    found: list[bool] = []
    for part in np.split(fresh, 10):
        answer = client.post(f"{ASKED}{rate}", content=npy(part), headers={"Accept": "application/json", **NPY})
        document = answer.json()
        assert document["score"] == client.get("/v1/models/small").json()["score"]["name"]
        assert max(document["score_percentile"]) <= 100
        found += document["unusual"]
    assert len(found) == FRESH
    spread = math.sqrt(rate * (1 - rate) * (1 / held_out + 1 / FRESH))  # of the threshold, and of what is counted
    assert abs(np.mean(found) - rate) < 3 * spread


def test_what_the_model_does_not_know_is_unusual(client: TestClient) -> None:
    noise = np.random.default_rng(0).normal(5, 1.5, (50, 30)).astype(np.float32)
    answer = client.post(f"{ASKED}0.01", content=npy(noise), headers=NPY)
    assert answer.headers["reconstruction-unusual"] == ", ".join(["true"] * 50)
    assert answer.headers["reconstruction-score"] == client.get("/v1/models/small").json()["score"]["name"]
    assert len(answer.headers["reconstruction-score-percentile"].split(", ")) == 50
    plain = client.post(url("reconstruct", "small"), content=npy(noise))
    assert not [name for name in plain.headers if name in ("reconstruction-unusual", "reconstruction-score")]


def test_a_package_without_a_score_goes_by_the_error(models: Path) -> None:
    with TestClient(create_app(Settings(models=models)), raise_server_exceptions=False) as client:
        answer = client.post(f"{ASKED}0.5", content=picture(), headers={"Accept": "application/json"})
        document = answer.json()
        assert document["score"] == answer.headers["reconstruction-score"] == "error"
        assert document["score_percentile"] == document["percentile"]
        assert client.get("/v1/models/small").json()["score"] == {"name": "error", "samples": 1, "auroc": {}}


def test_a_score_costs_nothing_without_a_rate(trained: Path) -> None:
    model = Model(package.read(trained / "small" / "1"), "cpu")
    roles: list[str] = []
    run = model.run_graph
    model.run_graph = lambda role, batch, **options: roles.append(role) or run(role, batch, **options)  # type: ignore[method-assign,func-returns-value]
    model.reconstruct(waves(3))
    assert roles == ["encoder", "decoder"]


def test_a_damaged_score_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "small", tmp_path / "small")
    file = tmp_path / "small" / "1" / "score.npz"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DigestMismatch, match=r"score\.npz"):
        package.read(tmp_path / "small" / "1")
    file.unlink()
    with pytest.raises(PackageError, match=r"score\.npz"):
        package.read(tmp_path / "small" / "1")


def test_a_rate_that_cannot_be_told_is_refused(models: Path) -> None:
    with TestClient(create_app(Settings(models=models)), raise_server_exceptions=False) as client:
        for rate in ("0.001", "0.6", "nan", "often"):
            refused(client.post(ASKED + rate, content=picture()), 422, f"'{rate}'", "from 0.01 to 0.5")
        refused(client.post(f"{ASKED}0.4", content=picture()), 422, "was tested on 1 samples", "rates from 0.5")
        refused(client.post(f"{url('encode')}?false_alarm_rate=0.1", content=picture()), 422, "is for reconstruct")
        answer = client.post("/v2/models/small.reconstruct/infer?false_alarm_rate=0.5", content=b"{}")
        assert answer.status_code == 422
        assert "/v2 answers percentiles" in answer.json()["error"]
        assert client.post(f"{ASKED}0.5", content=picture()).headers["reconstruction-unusual"] == "true"


def test_the_client_and_the_command_line_have_it(
    models: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def both(client: AsyncClient) -> None:
        samples = waves(150, seed=2)
        one = await client.reconstruct("small", samples[:3], false_alarm_rate=0.01)
        many = await client.reconstruct("small", samples, false_alarm_rate=0.01)  # by JSON
        assert one.unusual is not None
        assert one.score == many.score is not None
        assert one.score_percentile is not None
        assert many.score_percentile is not None
        np.testing.assert_allclose(one.score_percentile, many.score_percentile[:3], rtol=1e-3)
        assert many.unusual is not None
        assert (one.unusual.shape, many.unusual.shape, many.unusual.dtype) == ((3,), (150,), np.dtype(bool))
        np.testing.assert_array_equal(many.unusual[:3], one.unusual)
        plain = await client.reconstruct("small", waves(3, seed=2))
        assert (plain.unusual, plain.score, plain.score_percentile) == (None, None, None)

    asyncio.run(asked(trained, both))
    (tmp_path / "a.png").write_bytes(picture(IMAGE))
    (tmp_path / "b.png").write_bytes(picture(np.zeros_like(IMAGE)))
    command = [
        "reconstruct",
        str(tmp_path),
        "--models",
        str(models),
        "-o",
        "-",
        "--model",
        "small",
        "--false-alarm-rate",
    ]
    assert main([*command, "0.5"]) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [(row["file"], row["unusual"], row["score"]) for row in rows] == [
        ("a.png", "true", "error"),
        ("b.png", "false", "error"),
    ]
    assert main([*command, "0.7"]) != 0
    assert "from 0.01 to 0.5" in capfd.readouterr().err
