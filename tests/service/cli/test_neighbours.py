"""`neighbours` and `index`: folders, latents, tables, the package's own index; CSV and JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service import packages as doubles
from tests.service.cli.conftest import run


@pytest.fixture
def own_models(tmp_path: Path) -> Path:
    doubles.write(tmp_path / "models", "small", doubles.image_graphs())
    doubles.write(tmp_path / "models", "signal", doubles.vector_graphs())
    return tmp_path / "models"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """0.png, 20.png, ... 180.png of that grey."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for value in range(0, 200, 20):
        Image.fromarray(np.full((28, 28), value, np.uint8)).save(folder / f"{value}.png")
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_nearest_pictures_of_a_folder(own_models: Path, pictures: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ("neighbours", pictures / "0.png", "--in", pictures, "--count", "2", "--model", "small")
    assert run(own_models, *command) == 0
    found = rows(capfd.readouterr().out)
    assert [(row["file"], row["rank"], row["neighbour"]) for row in found] == [
        ("0.png", "1", "0.png"), ("0.png", "2", "20.png"),
    ]  # fmt: skip
    assert float(found[1]["distance"]) == pytest.approx(20 / 255 * 32**0.5, rel=1e-4)
    assert run(own_models, *command, "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document[0]["neighbours"][0] == {"row": 0, "name": "0.png", "distance": 0.0}


def test_latents_that_encode_wrote_are_looked_through(
    own_models: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("latents.npy", "latents.csv"):
        assert run(own_models, "encode", pictures, "-o", tmp_path / name, "--model", "small") == 0
        output = tmp_path / "found.csv"
        command = ("neighbours", pictures / "160.png", "--in", tmp_path / name, "--count", "1", "--model", "small")
        assert run(own_models, *command, "-o", output) == 0
        assert [row["neighbour"] for row in rows(output.read_text())] == ["160.png"]
    capfd.readouterr()


def test_an_index_is_built_beside_the_package_and_asked(
    own_models: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(own_models, "index", pictures, "--model", "small") == 0
    assert "1.neighbours.npz: 10 samples" in capfd.readouterr().err
    assert (
        run(own_models, "neighbours", pictures / "100.png", pictures / "0.png", "--count", "1", "--model", "small") == 0
    )
    assert [(row["file"], row["neighbour"]) for row in rows(capfd.readouterr().out)] == [
        ("100.png", "100.png"), ("0.png", "0.png"),
    ]  # fmt: skip


def test_rows_of_a_table(own_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("who,a,b,c,d,e,f\n" + "".join(f"no {row},{row},0,0,0,0,0\n" for row in range(5)))
    assert run(own_models, "index", table, "--model", "signal") == 0
    assert run(own_models, "neighbours", table, "--count", "2", "--model", "signal") == 0
    found = rows(capfd.readouterr().out)
    assert (found[4]["neighbour"], found[4]["distance"]) == ("3 no 2", "0")
    assert len(found) == 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["neighbours", "a.png", "--model", "small"], "has no index of neighbours"),
        (["neighbours", "a.png", "--in", "missing", "--model", "small"], "missing does not exist"),
        (["neighbours", "a.png", "--in", "missing.npy", "--model", "small"], "missing.npy: No such file"),
        (["neighbours", "a.png", "--in", "x.npy", "--model", "small"], "latents of 3 numbers"),
        (["neighbours", "a.png", "--in", "x.npy", "--count", "0", "--model", "small"], "--count is 0"),
        (["neighbours", "a.png", "--in", "x.npy", "-o", "x.png", "--model", "small"], "x.png is another file"),
        (["neighbours", "a.png", "--in", "nan.npy", "--model", "small"], "nan.npy: row 1 holds NaN or infinity"),
        (["neighbours", "a.png", "--in", "whole.npy", "--model", "small"], "holds neither latents"),
        (["neighbours", "a.png", "--in", "no.npz", "--model", "small"], "no.npz is no index of neighbours"),
        (["index", "missing.npy", "--model", "small"], "missing.npy: No such file"),
        (["index", "a.png", "--model", "nobody"], "no model nobody"),
    ],
)
def test_refusals_say_what_is_wrong(
    own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("a.png")
    np.save("x.npy", np.zeros((2, 3), np.float32))
    np.save("nan.npy", np.array([[0, 1], [np.nan, 2]], np.float32))
    np.save("whole.npy", np.zeros((2, 3), np.int64))
    Path("no.npz").write_bytes(b"no zip")
    assert run(own_models, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_pictures_in_an_array_and_an_index_are_looked_through(
    own_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = np.stack([np.full((28, 28, 1), value, np.uint8) for value in range(0, 200, 20)])
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "one.npy", images[3:4])
    index = tmp_path / "images.npz"
    assert run(own_models, "index", tmp_path / "images.npy", "--model", "small", "-o", index) == 0
    for pool in (tmp_path / "images.npy", index):
        capfd.readouterr()
        command = ("neighbours", tmp_path / "one.npy", "--in", pool, "--count", "1", "--model", "small")
        assert run(own_models, *command) == 0
        assert [row["neighbour"] for row in rows(capfd.readouterr().out)] == ["3"]
