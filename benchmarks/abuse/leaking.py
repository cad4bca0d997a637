"""`python -m benchmarks.abuse.leaking serve`: the service, but it leaks LEAK bytes a request, to be found."""

import os
import sys
from typing import Any

from service.api import operations
from service.api.v1.body import receive_body
from service.cli.main import main

_leaked: list[bytes] = []


async def receive_and_leak(*arguments: Any, **options: Any) -> bytes:
    _leaked.append(bytes(int(os.environ.get("LEAK", "1024"))))
    return await receive_body(*arguments, **options)


if __name__ == "__main__":
    vars(operations)["receive_body"] = receive_and_leak
    sys.exit(main())
