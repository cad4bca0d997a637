"""Files of this machine: pipes, devices, names of any bytes, file systems that do not answer."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from service.model.files.plain_files import (
    MAX_NAME_BYTES,
    call_within,
    list_visible_files,
    read_regular,
    shorten_name,
    to_printable,
    write_whole,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scan 1.png", "scan 1.png"),
        ("Grüße 日本.png", "Grüße 日本.png"),
        (os.fsdecode(b"\xff\xe9.png"), "\\xff\\xe9.png"),
        ("a\nb\rc\td.png", "a\\nb\\rc\\td.png"),
        ("\x1b[2J\x07.png", "\\x1b[2J\\x07.png"),
        ("a\u0085\u2028b\u202e.png", "a\\u0085\\u2028b\\u202e.png"),
        ("\u0646\u200c\u0645.png", "\u0646\u200c\u0645.png"),  # a joiner that Persian needs
        ("back\\slash.png", "back\\slash.png"),
    ],
)
def test_a_name_is_printed_in_one_line_of_utf8(name: str, expected: str) -> None:
    assert to_printable(name) == expected
    assert expected.encode()


def test_a_name_that_is_too_long_is_shortened_and_stays_distinct() -> None:
    first, second = ("ä" * 126 + end + ".png.png" for end in "xy")
    assert len(os.fsencode(first)) > MAX_NAME_BYTES
    for name in (first, second):
        assert len(os.fsencode(shorten_name(name))) <= MAX_NAME_BYTES
        assert shorten_name(name).endswith(".png")
    assert shorten_name(first) != shorten_name(second)
    assert shorten_name("a" * 251 + ".png") == "a" * 251 + ".png"


@pytest.mark.parametrize("name", [b"\xff.bin", b"x" * 255, b"line\nend", b"-o"])
def test_a_file_of_any_name_is_written_and_read(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    write_whole(path, b"first")
    write_whole(path, b"second", is_synced=True)
    assert read_regular(path) == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 300_000 for number in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "a", b"1")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("path", [Path("/dev/zero"), Path("/dev/null"), Path("/dev/full")])
def test_a_device_is_refused(path: Path) -> None:
    with pytest.raises(OSError, match="a pipe or a device, not a file"):
        read_regular(path, 100)


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    start = time.monotonic()
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="a pipe or a device, not a file"):
            read_regular(tmp_path / name)
    assert time.monotonic() - start < 1


def test_size_links_and_folders_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    for path, limit, code in ((tmp_path / "a", 4, errno.EFBIG), (tmp_path / "link", 5, errno.ELOOP)):
        with pytest.raises(OSError) as caught:
            read_regular(path, limit, follow_links=False)
        assert caught.value.errno == code
    with pytest.raises(OSError):
        read_regular(tmp_path)


def test_a_file_system_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    event = threading.Event()
    start = time.monotonic()
    with pytest.raises(OSError, match=r"did not answer within 0\.2 s"):
        call_within(0.2, event.wait, tmp_path)
    assert time.monotonic() - start < 5
    event.set()
    assert call_within(5, lambda: 7, tmp_path) == 7
    with pytest.raises(FileNotFoundError):
        call_within(5, (tmp_path / "missing").read_bytes, tmp_path)


def test_hidden_files_pipes_and_links_to_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "._b.png", "sub/a.png", ".cache/c.png"):
        write_whole(tmp_path / name, b"1")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "again").symlink_to("sub")
    assert [p.relative_to(tmp_path).as_posix() for p in list_visible_files(tmp_path)] == ["b.png", "sub/a.png"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"")
    with pytest.raises(NotADirectoryError):
        list_visible_files(tmp_path / "a")
