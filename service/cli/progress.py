"""Progress of a command on many files: a status line in a terminal, failures, lines of JSON, a summary.

record_success | record_failure -> counts -> standard error (and JSON on standard output) -> print_summary -> exit code
"""

import json
import sys
import time
from dataclasses import dataclass, field

from service.cli.file_jobs import Job
from service.model.files.plain_files import to_printable

_CLEAR_LINE = "\r\033[K"


@dataclass
class Progress:
    """Counts of files and their output. `verb`: what happened to a successful file, e.g. "cleaned"."""

    verb: str
    total: int
    as_json: bool
    success_count: int = 0
    skip_count: int = 0
    failure_count: int = 0
    start_time: float = field(default_factory=time.monotonic)

    def record_success(self, job: Job, seconds: float, dropped: str = "", **facts: object) -> None:
        """`dropped`: names of what the file held beside its pixels and its result does not."""
        self.success_count += 1
        if dropped:
            self._clear_status()
            print(f"{job.name}: not in the result: {dropped}", file=sys.stderr)
            facts["dropped_metadata"] = dropped
        self._print_job(job, seconds=round(seconds, 3), **facts)

    def record_failure(self, job: Job, reason: str) -> None:
        self.failure_count += 1
        self._clear_status()
        print(f"{job.name}: {reason}", file=sys.stderr)
        self._print_job(job, error=reason)

    def record_chunk(self, success_count: int, failure_count: int) -> None:
        """A chunk of files is finished, without a line for each."""
        self.success_count += success_count
        self.failure_count += failure_count
        self._print_status("")

    def print_summary(self) -> int:
        """The exit code: 1 if a file failed, else 0. One successful file alone needs no summary."""
        self._clear_status()
        parts = [f"{self.success_count} {self.verb}"]
        parts += [f"{self.skip_count} up to date"] if self.skip_count else []
        parts += [f"{self.failure_count} failed"] if self.failure_count else []
        if self.total > 1 or self.skip_count or self.failure_count:
            print(f"{', '.join(parts)}, in {time.monotonic() - self.start_time:.1f} s", file=sys.stderr)
        return 1 if self.failure_count else 0

    def _print_job(self, job: Job, **facts: object) -> None:
        if self.as_json:
            output = None if job.destination is None else to_printable(str(job.destination))
            document = {"input": job.name, "output": output}
            print(json.dumps({**document, **facts}), flush=True)
        self._print_status(job.name[-40:])

    def _print_status(self, name: str) -> None:
        count, seconds = self.success_count + self.failure_count, time.monotonic() - self.start_time
        if self._has_status_line():
            remaining = seconds / count * (self.total - count)
            print(f"{_CLEAR_LINE}{count}/{self.total}  {count / seconds:.1f}/s  {remaining:.0f} s left  {name}",
                  end="", file=sys.stderr, flush=True)  # fmt: skip

    def _clear_status(self) -> None:
        if self._has_status_line():
            print(_CLEAR_LINE, end="", file=sys.stderr)

    def _has_status_line(self) -> bool:
        return self.total > 1 and sys.stderr.isatty()
