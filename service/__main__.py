"""Console script `autoencoder-service`: installs a SIGTERM handler, then runs service.cli.main.

Importing the service and opening its models take seconds. As process 1 of a container it would ignore a SIGTERM in
that time, since the kernel has no default action for process 1, and be killed at the end of the grace period.
"""

import signal
import sys
from types import FrameType

if sys.platform != "win32":
    import resource

# of the loader of libraries, and of threads
_SHORTAGES = ("failed to map segment", "annot allocate memory", "can't start new thread")
MIN_ADDRESS_SPACE = 400 << 20  # bytes; with less the libraries in Rust end the process while they are imported


def main() -> int:
    """The exit code; 0 if SIGTERM arrives before `serve` has installed its own handlers."""
    limit = _address_space_limit()
    if limit < MIN_ADDRESS_SPACE:
        sys.stderr.write(
            f"autoencoder-service: this process may have {limit / (1 << 20):.0f} MiB of address space, and needs at "
            f"least {MIN_ADDRESS_SPACE >> 20} MiB: raise the limit (ulimit -v)\n"
        )
        return 2
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGTERM, _exit)
    try:
        from service.cli.main import main as run  # not at the top: this import takes long

        return run()
    except (MemoryError, ImportError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _SHORTAGES):
            raise
        sys.stderr.write(
            f"autoencoder-service: the system gave no memory or no thread ({error or 'MemoryError'}): raise the limit "
            "of memory, address space or processes of this process (ulimit, container)\n"
        )
        return 2


def _address_space_limit() -> float:
    """Bytes; infinity without a limit."""
    if sys.platform == "win32":
        return float("inf")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
