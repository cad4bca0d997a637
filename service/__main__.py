"""The console script `autoencoder-service`: SIGTERM is heard from the first moment on, then service.cli.main runs.

Importing the service and opening its models take seconds. As process 1 of a container it would lose a SIGTERM that
comes meanwhile, since the kernel does nothing by default to process 1, and be killed when its time to leave is over.
"""

import signal
import sys
from types import FrameType


def main() -> int:
    """The exit code; 0 if `serve` is told to leave before it serves. `serve` takes over the signal later."""
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGTERM, _leave)
    from service.cli.main import main as run  # not above: this import is what takes long

    return run()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
