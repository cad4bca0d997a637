"""Tables on the command line: CSV and Parquet in and out, of any number of rows, text carried along."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.codecs.table_formats import parquet, tables
from service.model.manifest import Column
from tests.service import packages as doubles
from tests.service.cli.conftest import run

NAMES = ("p", "q", "r", "s", "t", "u")


@pytest.fixture(scope="module")
def table_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    columns = tuple(Column(name=name, mean=0, deviation=1) for name in NAMES)
    doubles.write(models, "named", doubles.vector_graphs(), columns=columns)
    doubles.write(models, "small", doubles.image_graphs())
    return models


@pytest.fixture
def beats(tmp_path: Path) -> Path:
    """2,500 rows in another order than the model's, with a column of words."""
    path = tmp_path / "beats.csv"
    path.write_text("who;u;t;s;r;q;p\n" + "".join(f"no {row};{row},5;5;4;3;2;1\n" for row in range(2500)))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_rows_are_encoded_and_decoded_by_their_names(table_models: Path, beats: Path, tmp_path: Path) -> None:
    latents, again = tmp_path / "latents.csv", tmp_path / "again.csv"
    assert run(table_models, "encode", beats, "-o", latents, "--model", "named") == 0
    assert len(rows(latents)) == 2500
    assert rows(latents)[2400]["who"] == "no 2400"
    assert rows(latents)[2400]["latent_6"] == "4801.0"
    assert run(table_models, "decode", latents, "-o", again, "--model", "named") == 0
    assert rows(again)[1999] == {
        "who": "no 1999", "p": "1.0", "q": "2.0", "r": "3.0", "s": "4.0", "t": "5.0", "u": "1999.5",
    }  # fmt: skip


def test_errors_stand_beside_the_rows(
    table_models: Path, beats: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    options = ("--model", "named", "--false-alarm-rate", "0.5")
    assert run(table_models, "reconstruct", beats, "-o", "-", *options) == 0
    result = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert list(result[0]) == ["who", *NAMES, "reconstruction_error", "percentile", "unusual"]
    assert [row["u"] for row in result[-2:]] == ["2498.5", "2499.5"]


@pytest.mark.skipif(not parquet.IS_INSTALLED, reason="pyarrow is not installed")
def test_parquet_and_npy(table_models: Path, beats: Path, tmp_path: Path) -> None:
    packed, array = tmp_path / "latents.parquet", tmp_path / "latents.npy"
    assert run(table_models, "encode", beats, "-o", packed, "--model", "named") == 0
    assert run(table_models, "encode", beats, "-o", array, "--model", "named") == 0
    schema = tables.TableSchema("named", 6, tables.latent_names(6))
    table = parquet.read(packed.read_bytes(), schema, 10_000)
    assert (table.numbers == np.load(array)).all()
    assert table.carried_columns()["who"][7] == "no 7"
    assert run(table_models, "decode", packed, "-o", tmp_path / "again.csv", "--model", "named") == 0
    assert rows(tmp_path / "again.csv")[7]["u"] == "7.5"


def test_latents_of_pictures_are_a_table_with_their_names(table_models: Path, tmp_path: Path) -> None:
    for value in (51, 102):
        Image.fromarray(np.full((28, 28), value, np.uint8)).save(tmp_path / f"{value}.png")
    latents, folder = tmp_path / "latents.csv", tmp_path / "pictures"
    assert run(table_models, "encode", tmp_path, "-o", latents, "--model", "small") == 0
    assert [(row["file"], row["latent_32"]) for row in rows(latents)] == [("102.png", "0.4"), ("51.png", "0.2")]
    assert run(table_models, "decode", latents, "-o", folder, "--model", "small") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["encode", "missing.csv", "-o", "x.csv", "--model", "named"], "missing.csv: No such file"),
        (["encode", "short.csv", "-o", "x.csv", "--model", "named"], "short.csv has no column 'q', 'r'"),
        (["encode", "gap.csv", "-o", "x.csv", "--model", "named"], 'gap.csv, line 3, column "u": "" is a gap'),
        (["encode", "gap.csv", "-o", "x.png", "--model", "named"], "x.png is another file"),
        (["encode", "gap.csv", "-o", "x.csv", "--model", "small"], "small encode takes no rows of numbers"),
        (["reconstruct", "gap.csv", "-o", "x.txt", "--model", "named"], "x.txt is another file"),
        (["decode", "gap.csv", "-o", "x.csv", "--model", "named"], "has no column 'latent_1'"),
    ],
)
def test_refusals_are_one_line(
    table_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str],
    sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("short.csv").write_text("p,u\n1,2\n")
    Path("gap.csv").write_text("p,q,r,s,t,u\n1,2,3,4,5,6\n1,2,3,4,5,\n")
    assert run(table_models, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("x.*"))
