"""Files from the command line, in this process and through a service, with the doubles of tests.service."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.codecs.formats import detect_image_format
from tests.service import packages as doubles
from tests.service.cli.conftest import run
from tests.service.picture_files import GAIN_MAP_XMP, jpeg


def plain(path: Path) -> np.ndarray:
    with Pillow.open(path) as image:
        return np.asarray(image)


def grey(path: Path) -> int:
    return int(np.median(plain(path)))


def test_a_list_of_files_is_cleaned_by_their_names_below_what_they_share(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text(f"{scans}/a.png\n\n{scans}/old/b.jpg\n{scans}/gone.png\n")
    assert run(file_models, "denoise", f"@{tmp_path}/list.txt", "-o", tmp_path / "clean") == 1
    names = sorted(p.relative_to(tmp_path / "clean").as_posix() for p in (tmp_path / "clean").rglob("*.*"))
    assert names == ["a.png", "old/b.jpg"]
    assert "gone.png: No such file" in capfd.readouterr().err


def test_a_folder_is_cleaned_with_its_names_and_an_up_to_date_result_is_not_computed_again(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clean"
    assert run(file_models, "denoise", scans, "-o", out) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "a.png",
        "c.png",
        "old/b.jpg",
    ]
    assert [grey(out / name) for name in ("a.png", "old/b.jpg", "c.png")] == [215, 175, 135]
    assert "3 cleaned, in" in capfd.readouterr().err
    (out / "c.png").unlink()
    os.utime(scans / "a.png")  # newer than what was made of it
    os.utime(out / "a.png", (0, 0))
    assert run(file_models, "denoise", scans, "-o", out) == 0
    assert "2 cleaned, 1 up to date" in capfd.readouterr().err
    assert run(file_models, "denoise", scans, "-o", out, "--again") == 0
    assert "3 cleaned, in" in capfd.readouterr().err


def test_a_bad_file_is_reported_and_does_not_stop_the_others(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (scans / "bad.png").write_bytes(b"no picture at all")
    (scans / "cut.png").write_bytes((scans / "a.png").read_bytes()[:60])
    assert run(file_models, "denoise", scans, "-o", tmp_path / "clean", "--json") == 1
    output = capfd.readouterr()
    assert "bad.png: the file is not a picture in PNG, JPEG" in output.err
    assert "cut.png: " in output.err
    assert "3 cleaned, 2 failed" in output.err
    lines = {line["input"]: line for line in map(json.loads, output.out.splitlines())}
    assert set(lines) == {"a.png", "old/b.jpg", "c.bmp", "bad.png", "cut.png"}
    assert lines["c.bmp"]["output"] == str(tmp_path / "clean/c.png")
    assert "error" in lines["bad.png"]
    assert not list((tmp_path / "clean").rglob("*.part"))


def test_one_file_goes_to_the_output_path_in_the_format_of_its_suffix(
    file_models: Path, scans: Path, tmp_path: Path
) -> None:
    assert run(file_models, "denoise", scans / "a.png", "-o", tmp_path / "x.webp", "--model", "negative") == 0
    with Pillow.open(tmp_path / "x.webp") as image:
        assert image.format == "WEBP"
    assert run(file_models, "denoise", scans / "a.png", "-o", tmp_path / "half.png", "--strength", "0.5") == 0
    assert grey(tmp_path / "half.png") == pytest.approx((40 + 215) / 2, abs=1)
    (tmp_path / "there").mkdir()
    assert run(file_models, "denoise", scans / "a.png", "-o", tmp_path / "there") == 0
    assert grey(tmp_path / "there/a.png") == 215
    assert run(file_models, "denoise", f"{scans}/**/*.jpg", "-o", tmp_path / "globbed") == 0
    assert grey(tmp_path / "globbed/old/b.jpg") == 175


def test_it_works_in_a_pipe(
    file_models: Path, scans: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((scans / "a.png").read_bytes())))
    assert run(file_models, "denoise", "-", "-o", "-") == 0
    assert np.median(np.asarray(Pillow.open(io.BytesIO(capfdbinary.readouterr().out)))) == 215


def test_files_become_latents_with_their_list_and_latents_files(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    latents = tmp_path / "latents.npy"
    (scans / "bad.png").write_bytes(b"")
    assert run(file_models, "encode", scans, "-o", latents) == 1, "one of them is no picture"
    array = np.load(latents)
    assert array.shape == (3, 32)
    assert latents.with_suffix(".txt").read_text().split() == ["a.png", "c.bmp", "old/b.jpg"]
    assert (array[:, 0] * 255).round() == pytest.approx([40, 120, 80])
    assert run(file_models, "decode", latents, "-o", tmp_path / "decoded") == 0
    first_rows = [plain(tmp_path / f"decoded/{n}.png")[0] for n in range(3)]
    assert [int(row[0]) for row in first_rows] == [40, 120, 80]
    assert run(file_models, "decode", latents, "-o", tmp_path / "decoded.npy") == 0
    images = np.load(tmp_path / "decoded.npy")
    assert images.shape == (3, 28, 28, 1)
    np.save(tmp_path / "images.npy", images)
    assert run(file_models, "encode", tmp_path / "images.npy", "-o", tmp_path / "again.npy") == 0
    assert (np.load(tmp_path / "again.npy") == array).all()
    capfd.readouterr()
    assert run(file_models, "decode", latents, "-o", tmp_path / "one.png") == 2
    assert "3 latents make 3 pictures: name a folder" in capfd.readouterr().err


def test_two_files_of_one_name_have_each_their_own_latents(file_models: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "old/a.png").write_bytes((scans / "c.bmp").read_bytes())
    assert run(file_models, "encode", scans / "a.png", scans / "old/a.png", "-o", tmp_path / "latents.npy") == 0
    assert (np.load(tmp_path / "latents.npy")[:, 0] * 255).round() == pytest.approx([40, 120])
    assert (tmp_path / "latents.txt").read_text().split() == ["a.png", "a.png"]


def test_the_most_unusual_file_comes_first(file_models: Path, scans: Path, tmp_path: Path) -> None:
    assert run(file_models, "reconstruct", scans, "-o", tmp_path / "errors.csv", "--images", tmp_path / "made") == 0
    lines = (tmp_path / "errors.csv").read_text().splitlines()
    assert lines[0] == "file,reconstruction_error,percentile"
    assert [line.split(",")[0] for line in lines[1:]] == ["c.bmp", "old/b.jpg", "a.png"], "the brightest loses most"
    errors = [float(line.split(",")[1]) for line in lines[1:]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    assert {p.name for p in (tmp_path / "made").rglob("*.*")} == {"a.png", "b.jpg", "c.png"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["denoise", "nowhere", "-o", "x.png"], "nowhere does not exist"),
        (["denoise", "{scans}/*.gif", "-o", "x.png"], "nothing matches"),
        (["denoise", "{empty}", "-o", "x"], "holds no images"),
        (["denoise", "{scans}/a.png", "-o", "x.gif"], "x.gif names no format that can be written"),
        (["denoise", "{scans}", "-o", "-"], "standard output takes one file, there are 3"),
        (["denoise", "{scans}/a.png", "-o", "{scans}"], "a.png would be written over itself"),
        (["denoise", "{scans}/a.png", "{scans}/a.png", "-o", "x"], "would both be written to x/a.png"),
        (["denoise", "{scans}/a.png", "-o", "-", "--json"], "both want standard output"),
        (
            ["denoise", "{scans}/a.png", "-o", "x.png", "--model", "small"],
            "no model small can denoise; there are: negative",
        ),
        (["denoise", "{scans}/a.png", "-o", "x.png", "--url", "http://127.0.0.1:9"], "cannot be reached"),
        (["encode", "{scans}/a.png", "-o", "x.txt"], "latents are written as .npy, .csv or .parquet"),
        (["decode", "{scans}/a.png", "-o", "x"], "is not .npy"),
        (["decode", "nowhere.npy", "-o", "x"], "nowhere.npy cannot be read"),
        (["decode", "{scans}/../none.npy", "-o", "x.npy"], "has shape [0, 32]; at least one sample is needed"),
        (["encode", "{scans}/../one.npy", "-o", "x.npy"], "has shape []; at least one sample is needed"),
        (["encode", "{scans}/a.png", "-o", "{scans}/a.png/x.npy"], "a.png: "),
        (["reconstruct", "{scans}/a.png", "-o", "{scans}/a.png/x.csv"], "a.png: "),
        (["decode", "a.npy", "b.npy", "-o", "x"], "decode takes one file"),
    ],
)
def test_what_cannot_be_begun_is_one_line(
    arguments: list[str], sentence: str, file_models: Path, scans: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.client.time.sleep", lambda _: None)
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "none.npy", np.zeros((0, 32), np.float32))
    np.save(tmp_path / "one.npy", np.float32(1))
    paths = sorted(tmp_path.rglob("*"))
    assert run(file_models, *(text.format(scans=scans, empty=tmp_path / "empty") for text in arguments)) == 2
    output = capfd.readouterr().err
    assert sentence in output
    assert output.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == paths, "nothing was written"


def test_what_a_picture_held_and_its_result_does_not_is_a_line_and_a_member(
    file_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "phone.jpg"
    xmp = b"\xff\xe1http://ns.adobe.com/xap/1.0/\0" + GAIN_MAP_XMP
    source.write_bytes(jpeg(segments=(xmp, b"\xff\xe2MPF\0II*\0")))
    assert run(file_models, "denoise", source, "-o", tmp_path / "clean.jpg", "--json") == 0
    output = capfd.readouterr()
    assert "phone.jpg: not in the result: gain map, further pictures (MPF)\n" in output.err
    assert json.loads(output.out)["dropped_metadata"] == "gain map, further pictures (MPF)"
    assert b"hdr-gain-map" not in (tmp_path / "clean.jpg").read_bytes()
    (tmp_path / "plain.jpg").write_bytes(jpeg())
    assert run(file_models, "denoise", tmp_path / "plain.jpg", "-o", tmp_path / "clean.avif", "--json") == 0
    output = capfd.readouterr()
    assert "not in the result" not in output.err
    assert "dropped_metadata" not in json.loads(output.out)
    assert detect_image_format((tmp_path / "clean.avif").read_bytes()).name == "AVIF"  # type: ignore[union-attr]


def test_files_of_a_folder_that_are_left_out_are_counted_with_the_reason(
    file_models: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jxl", "b.jxl", "old/raw.dng", "notes.txt", "README"):
        (scans / name).write_bytes(b"x")
    assert run(file_models, "denoise", scans, "-o", tmp_path / "clean") == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 1
    assert "left out: 2 .jxl (a JPEG XL, which is not read here; save it as PNG, TIFF or JPEG)" in lines[0]
    assert "1 .dng (a camera's raw file" in lines[0]
    assert lines[0].endswith("3 others (no suffix, .txt)")  # one was there
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.jxl").write_bytes(b"x")
    assert run(file_models, "denoise", tmp_path / "only", "-o", tmp_path / "clean") == 2
    assert "left out: 1 .jxl (a JPEG XL" in capfd.readouterr().err


def test_new_samples_are_drawn_into_a_picture_an_array_or_a_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    operations: Any = ("encode", "decode", "reconstruct", "sample")
    doubles.write(models, "drawer", doubles.image_graphs(), kind="variational", operations=operations)
    doubles.write(models, "waves", doubles.vector_graphs(), kind="variational", operations=operations)
    command = ("sample", "--model", "drawer", "--count", "5", "--seed", "1", "-o")
    assert run(models, *command, tmp_path / "new" / "sheet.png") == 0
    assert run(models, *command, tmp_path / "samples.npy") == 0
    assert run(models, *command, tmp_path / "folder") == 0
    samples = np.load(tmp_path / "samples.npy")
    assert samples.shape == (5, 28, 28, 1)
    assert plain(tmp_path / "new" / "sheet.png").shape == (56, 84)
    assert (plain(tmp_path / "new" / "sheet.png")[:28, :28] == samples[0, :, :, 0]).all()
    assert (plain(tmp_path / "folder" / "4.png") == samples[4, :, :, 0]).all()
    for arguments, sentence in (
        (("--model", "drawer", "--count", "0", "-o", tmp_path / "x.npy"), "--count is 0; at least one"),
        (("--model", "drawer", "--seed", "-5", "-o", tmp_path / "x.npy"), "seed is '-5'"),
        (("--model", "waves", "-o", tmp_path / "x.png"), "vectors, which are no images"),
        (("-o", tmp_path / "x.npy"), "name a model with --model; there are: drawer"),
    ):
        assert run(models, "sample", *arguments) == 2
        assert sentence in capfd.readouterr().err
    assert not (tmp_path / "x.npy").exists()
