"""`python -m benchmarks.abuse.leaking serve`: the service, but it leaks LEAK bytes a request, to be found."""

import os
import sys
from typing import Any

from service import app
from service.api.v1 import body
from service.cli.main import main

_kept: list[bytes] = []
_receive = body.receive_body


async def _leaking(*arguments: Any, **options: Any) -> bytes:
    _kept.append(bytes(int(os.environ.get("LEAK", "1024"))))
    return await _receive(*arguments, **options)


if __name__ == "__main__":
    app.receive_body = _leaking
    sys.exit(main())
