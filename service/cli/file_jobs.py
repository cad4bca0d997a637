"""Planning of a command on files: which files are read, and where each result is written.

files, folders, globs, @lists, - -> expand_inputs -> (source, name) -> plan_jobs -> Job(source, name, destination)
"""

import codecs
import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.cli.errors import FilesError
from service.cli.file_options import PIPE
from service.codecs import pdf, unread_formats
from service.codecs.formats import (
    MEDIA_TYPE_OF_SUFFIX,
    NPY,
    NPY_MAGIC,
    PDF,
    PDF_MAGIC,
    PNG,
    READABLE_SUFFIXES,
    detect_image_format,
)
from service.model.files.plain_files import list_visible_files, shorten_name, to_printable, write_whole

DENOISED_TYPES = {**MEDIA_TYPE_OF_SUFFIX, ".pdf": PDF}
_MAX_SUFFIXES = 8  # that are named of files that are left out
HEATMAP_TYPES = {".png": PNG, ".npy": NPY}


@dataclass(frozen=True)
class Job:
    """One file. `source` None: standard input. `name`: how messages and lists call it, in printable form.
    `destination` None: standard output, or no file of its own."""

    source: Path | None
    name: str
    destination: Path | None

    def is_up_to_date(self) -> bool:
        """Whether the destination exists and is not older than the source."""
        if self.destination is None or self.source is None or not self.destination.exists():
            return False
        return self.destination.stat().st_mtime >= self.source.stat().st_mtime


def print_line(line: str) -> None:
    """To standard error, where all messages go."""
    print(line, file=sys.stderr)


def plan_jobs(
    inputs: Sequence[str], output: str, media_types: Mapping[str, str], rename: Callable[[str], str]
) -> list[Job]:
    """A job for each input file.

    Args:
        inputs: files, folders, globs, @lists, or "-".
        output: one file whose suffix is in `media_types`, a folder, or "-".
        media_types: media type of each suffix that can be written.
        rename: file name in the output folder, of a file's name.

    Raises:
        FilesError: an input does not exist, two files have one destination, or a file is its own destination.
    """
    left_out: list[str] = []
    sources = list(expand_inputs(inputs, {*READABLE_SUFFIXES, *media_types} - {".npy"}, left_out.append))
    if output == PIPE:
        if len(sources) > 1:
            raise FilesError(f"standard output takes one file, there are {len(sources)}: name a folder with -o")
        return [Job(source, to_printable(name), None) for source, name in sources]
    target = Path(output)
    is_file = len(inputs) == 1 and (inputs[0] == PIPE or Path(inputs[0]).is_file())  # not a folder, glob or list
    if is_file and not target.is_dir() and not output.endswith("/"):
        if target.suffix.lower() not in media_types:
            raise FilesError(f"{target} names no format that can be written; there are: {', '.join(media_types)}")
        destinations = [target] * len(sources)
    else:
        names = [Path(rename("stdin.png" if source is None else name)) for source, name in sources]
        destinations = [target / name.parent / shorten_name(name.name) for name in names]
    by_destination: dict[Path, Job] = {}
    for (source, name), destination in zip(sources, destinations, strict=True):
        if source is not None and destination.exists() and destination.samefile(source):
            raise FilesError(f"{name} would be written over itself; choose another -o")
        job = Job(source, to_printable(name), destination)
        first = by_destination.setdefault(destination, job)
        if first is not job:
            raise FilesError(f"{first.source} and {source} would both be written to {destination}")
    for line in left_out:  # only now: what cannot be begun is one line
        print_line(line)
    return list(by_destination.values())


def expand_inputs(
    inputs: Sequence[str],
    suffixes: Collection[str] = READABLE_SUFFIXES,
    report: Callable[[str], None] = print_line,
) -> Iterator[tuple[Path | None, str]]:
    """(file, its name relative to the folder, glob or list that named it); (None, "standard input") for "-".

    Args:
        inputs: files, folders, globs, @lists, or "-".
        suffixes: of the files that are taken out of a folder; hidden ones (".name") are left out.
        report: called with a line for each folder that has other files.

    Raises:
        FilesError: an input does not exist, or has no files.
    """
    for text in inputs:
        path = Path(text)
        if text == PIPE:
            yield None, "standard input"
        elif text.startswith("@"):
            paths = _read_list(Path(text[1:]))
            root = Path(os.path.commonpath([p.parent for p in paths]))
            yield from ((p, p.relative_to(root).as_posix()) for p in paths)
        elif path.is_dir():
            files = list_visible_files(path)
            paths = [p for p in files if p.suffix.lower() in suffixes]
            left_out = describe_left_out([p for p in files if p.suffix.lower() not in suffixes])
            if not paths:
                found = f"; {left_out}" if left_out else ""
                raise FilesError(f"{path} holds no images ({', '.join(suffixes)}){found}")
            if left_out:
                report(f"{to_printable(str(path))}: {left_out}")
            yield from ((p, p.relative_to(path).as_posix()) for p in paths)
        elif path.exists():
            yield path, path.name
        elif glob.has_magic(text):
            paths = sorted(p for p in map(Path, glob.iglob(text, recursive=True)) if p.is_file())  # noqa: PTH207  (absolute too)
            if not paths:
                raise FilesError(f"nothing matches {text}")
            root = _glob_root(path)
            yield from ((p, p.relative_to(root).as_posix()) for p in paths)
        else:
            raise FilesError(f"{text} does not exist")


def describe_left_out(files: Sequence[Path]) -> str:
    """ "" or "left out: 2 .jxl (a JPEG XL, which is not read here; save it as ...), 3 others (.txt, .xml)".

    Args:
        files: those of a folder that the command does not take.
    """
    counts = Counter(file.suffix.lower() for file in files)
    reasons = {suffix: unread_formats.describe_suffix(suffix) for suffix in counts}
    parts = [f"{counts[suffix]} {suffix} ({reason})" for suffix, reason in reasons.items() if reason is not None]
    others = sorted(suffix for suffix, reason in reasons.items() if reason is None)
    if others:
        names = ", ".join(to_printable(suffix or "no suffix") for suffix in others[:_MAX_SUFFIXES])
        more = ", ..." if len(others) > _MAX_SUFFIXES else ""
        count = sum(counts[suffix] for suffix in others)
        parts.append(f"{count} {'other' if count == 1 else 'others'} ({names}{more})")
    return f"left out: {', '.join(parts)}" if parts else ""


def output_name(name: str) -> str:
    """A file's name in the output folder: its own, or with .png if its format can only be read."""
    return name if Path(name).suffix.lower() in DENOISED_TYPES else str(Path(name).with_suffix(".png"))


def check_pdf(job: Job, *, is_local: bool) -> None:
    """Raise FilesError for a PDF that cannot be read in this process, or whose destination is no PDF."""
    source_is_pdf, destination_is_pdf = (
        path is not None and path.suffix.lower() == ".pdf" for path in (job.source, job.destination)
    )
    if source_is_pdf and is_local and not pdf.IS_INSTALLED:
        raise FilesError(f"{job.name} needs an extra that is not installed: {pdf.INSTALL_COMMAND}")
    if job.source is not None and job.destination is not None and source_is_pdf != destination_is_pdf:
        raise FilesError(f"{job.name} cannot become {job.destination}: a PDF becomes a PDF, and images images")


def write_output(path: Path | None, data: bytes) -> None:
    """Write a file whole or not at all, and create its folders; None: write to standard output."""
    if path is not None:
        write_whole(path, data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _read_list(file: Path) -> list[Path]:
    """The paths in a file, one a line, or with NUL between them, as `find -print0` writes names that hold line ends.

    Whether they exist is found when each is read. A name need not be UTF-8.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise FilesError(f"{file}: {error.strerror}") from error
    is_file_itself = detect_image_format(data) is not None or data.startswith((PDF_MAGIC, NPY_MAGIC))
    if is_file_itself or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FilesError(f"{file} is no list of files, one a line in UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    separator = b"\0" if b"\0" in data else b"\n"
    lines = [line if separator == b"\0" else line.removesuffix(b"\r") for line in data.split(separator)]
    paths = [Path(os.fsdecode(line)).absolute() for line in lines if line.strip()]
    if not paths:
        raise FilesError(f"{file} names no files")
    return paths


def _glob_root(pattern: Path) -> Path:
    """The folder in front of the first part that has a wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
