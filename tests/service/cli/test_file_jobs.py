"""Planning of a command on files: inputs, names, destinations."""

import os
from pathlib import Path

import pytest

from service.cli.errors import FilesError
from service.cli.file_jobs import (
    DENOISED_TYPES,
    HEATMAP_TYPES,
    Job,
    check_pdf,
    expand_inputs,
    output_name,
    plan_jobs,
)
from service.codecs.formats import MEDIA_TYPE_OF_SUFFIX


def names(*inputs: object) -> list[str]:
    return [name for _, name in expand_inputs([str(item) for item in inputs])]


def test_names_are_relative_to_the_folder_glob_or_list_that_names_the_file(scans: Path, tmp_path: Path) -> None:
    assert names(scans) == ["a.png", "c.bmp", "old/b.jpg"]
    assert names(scans / "a.png", scans / "old") == ["a.png", "b.jpg"]
    assert names(f"{tmp_path}/*/old/*.jpg") == ["scans/old/b.jpg"]
    assert names(f"{scans}/**/*.jpg") == ["old/b.jpg"]
    (tmp_path / "list.txt").write_text(f"{scans}/old/b.jpg\n\n{scans}/missing.png\n")
    assert names(f"@{tmp_path}/list.txt") == ["old/b.jpg", "missing.png"], "a missing file fails later, alone"
    assert names("-") == ["standard input"]


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for data in (b"\xff\xfea\x00", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n", b"\x93NUMPY"):
        (tmp_path / "list.bin").write_bytes(data)
        with pytest.raises(FilesError, match="is no list of files, one a line in UTF-8"):
            names(f"@{tmp_path}/list.bin")


def test_a_list_holds_names_of_any_bytes_and_with_nul_between_them_line_ends(tmp_path: Path) -> None:
    listed = [b"a\xff.png", b"b\xc2\x85\xe2\x80\xa8c.png", b"d.png"]
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbf" + b"\r\n".join(tmp_path.as_posix().encode() + b"/" + n for n in listed)
    )
    assert names(f"@{tmp_path}/list.txt") == [os.fsdecode(name) for name in listed]
    (tmp_path / "list.txt").write_bytes(b"\0".join([b"a\nb.png", b"c\r.png", b""]))
    assert names(f"@{tmp_path}/list.txt") == ["a\nb.png", "c\r.png"]


def test_hidden_files_and_pipes_in_a_folder_are_left_out(scans: Path) -> None:
    for name in ("._a.png", ".trash/x.png"):
        (scans / name).parent.mkdir(exist_ok=True)
        (scans / name).write_bytes((scans / "a.png").read_bytes())
    os.mkfifo(scans / "pipe.png")
    assert names(scans) == ["a.png", "c.bmp", "old/b.jpg"]
    assert names(scans / "._a.png") == ["._a.png"], "who names it, means it"


def test_one_file_may_name_its_output_and_a_folder_may_not(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.webp"
    (job,) = plan_jobs([str(scans / "a.png")], str(target), MEDIA_TYPE_OF_SUFFIX, output_name)
    assert job == Job(scans / "a.png", "a.png", target)
    assert [job.destination for job in plan_jobs([str(scans)], str(target), MEDIA_TYPE_OF_SUFFIX, output_name)] == [
        target / "a.png",
        target / "c.png",
        target / "old/b.jpg",
    ]
    (job,) = plan_jobs(["-"], f"{tmp_path}/", MEDIA_TYPE_OF_SUFFIX, output_name)
    assert job.destination == tmp_path / "stdin.png"
    (job,) = plan_jobs(["-"], "-", MEDIA_TYPE_OF_SUFFIX, output_name)
    assert job == Job(None, "standard input", None)


def test_two_files_with_one_destination_are_refused(scans: Path, tmp_path: Path) -> None:
    (scans / "c.png").write_bytes((scans / "a.png").read_bytes())
    with pytest.raises(FilesError, match=r"c\.bmp and .*c\.png would both be written to .*c\.png"):
        plan_jobs([str(scans)], f"{tmp_path}/out", MEDIA_TYPE_OF_SUFFIX, output_name)
    heatmaps = plan_jobs([str(scans)], f"{tmp_path}/out", HEATMAP_TYPES, lambda name: f"{name}.png")
    assert [job.destination for job in heatmaps] == [
        tmp_path / "out" / name for name in ("a.png.png", "c.bmp.png", "c.png.png", "old/b.jpg.png")
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", "a.png"), ("A.JPG", "A.JPG"), ("old/c.bmp", "old/c.png"), ("book.pdf", "book.pdf"), ("x", "x.png")],
)
def test_a_result_keeps_its_name_if_its_format_can_be_written(name: str, expected: str) -> None:
    assert output_name(name) == expected
    assert Path(output_name(name)).suffix.lower() in DENOISED_TYPES


def test_a_pdf_becomes_a_pdf_only(tmp_path: Path) -> None:
    check_pdf(Job(tmp_path / "a.pdf", "a.pdf", tmp_path / "b.PDF"), is_local=False)
    check_pdf(Job(tmp_path / "a.png", "a.png", tmp_path / "b.webp"), is_local=True)
    for source, destination in (("a.pdf", "a.png"), ("a.png", "a.pdf")):
        with pytest.raises(FilesError, match="a PDF becomes a PDF"):
            check_pdf(Job(tmp_path / source, source, tmp_path / destination), is_local=False)


def test_a_result_is_up_to_date_unless_its_source_is_newer(tmp_path: Path) -> None:
    source, destination = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"")
    job = Job(source, "a.png", destination)
    assert not job.is_up_to_date(), "no result yet"
    destination.write_bytes(b"")
    os.utime(source, (10, 10))
    os.utime(destination, (10, 10))
    assert job.is_up_to_date()
    os.utime(source, (11, 11))
    assert not job.is_up_to_date()
    assert not Job(None, "standard input", destination).is_up_to_date()
    assert not Job(source, "a.png", None).is_up_to_date()
