"""`python -m tests.abuse.stuck serve`: the service, but a graph's run for a vector with a number above 1 never ends.

It cannot be stopped either: as if a library hung in one call.
"""

import sys
import time
from typing import Any

from service.cli.main import main
from service.model import runtime

_run_session = runtime._run_session


def run_or_hang(session: Any, batch: Any) -> Any:
    while batch.dtype.kind == "f" and batch.max() > 1:
        time.sleep(1)
    return _run_session(session, batch)


if __name__ == "__main__":
    vars(runtime)["_run_session"] = run_or_hang
    sys.exit(main())
