"""Progress of a command on files: the status line, the lines of JSON, the summary."""

import json
from pathlib import Path

import pytest

from service.cli.file_jobs import Job
from service.cli.progress import Progress


def test_the_status_line_is_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("cleaned", 2, as_json=False)
    job = Job(None, "a.png", None)
    progress.record_success(job, 0.1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.record_success(job, 0.1)
    assert "2/2" in capsys.readouterr().err


def test_json_has_a_line_for_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("cleaned", 2, as_json=True)
    progress.record_success(Job(Path("in/a.png"), "a.png", Path("out/a.png")), 0.12345, model="pages")
    progress.record_failure(Job(None, "standard input", None), "not an image")
    output = capsys.readouterr()
    assert [json.loads(line) for line in output.out.splitlines()] == [
        {"input": "a.png", "output": "out/a.png", "seconds": 0.123, "model": "pages"},
        {"input": "standard input", "output": None, "error": "not an image"},
    ]
    assert output.err == "standard input: not an image\n"


def test_the_summary_counts_and_its_exit_code_is_1_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("encoded", 9, as_json=False, skip_count=2)
    progress.record_chunk(4, 3)
    assert progress.print_summary() == 1
    assert capsys.readouterr().err.startswith("4 encoded, 2 up to date, 3 failed, in ")
    progress = Progress("encoded", 1, as_json=False)
    progress.record_success(Job(None, "a.png", None), 0.1)
    assert progress.print_summary() == 0
    assert capsys.readouterr().err == "", "one successful file needs no summary"
