"""Console script `autoencoder-service`: installs a SIGTERM handler, then runs service.cli.main.

Importing the service and opening its models take seconds. As process 1 of a container it would ignore a SIGTERM in
that time, since the kernel has no default action for process 1, and be killed at the end of the grace period.
"""

import signal
import sys
from types import FrameType


def main() -> int:
    """The exit code; 0 if SIGTERM arrives before `serve` has installed its own handlers."""
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGTERM, _exit)
    from service.cli.main import main as run  # not at the top: this import takes long

    return run()


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
