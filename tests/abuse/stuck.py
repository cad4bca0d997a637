"""`python -m tests.abuse.stuck serve`: the service, but a graph's run for a vector with a number above 1 never ends.

It cannot be stopped either: as if a library hung in one call.
"""

import sys
import time
from typing import Any

from service.cli.main import main
from service.model.runtime import Model

run_graph = Model.run_graph


def run_or_hang(model: Model, role: Any, batch: Any, *, wide: bool = False) -> Any:
    while batch.dtype.kind == "f" and batch.max() > 1:
        time.sleep(1)
    return run_graph(model, role, batch, wide=wide)


if __name__ == "__main__":
    setattr(Model, "run_graph", run_or_hang)  # noqa: B010  (mypy allows no assignment to a method)
    sys.exit(main())
