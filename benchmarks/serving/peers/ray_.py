"""Ray Serve: a deployment of as many replicas as cores."""

import os

from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from work import Work


@serve.deployment(num_replicas=int(os.environ["WORKERS"]), max_ongoing_requests=64)
class Served:
    def __init__(self):
        self.work = Work()

    async def __call__(self, request: Request) -> Response:
        kind = request.headers["content-type"]
        return Response(self.work.answer(await request.body(), kind), media_type=kind)


if __name__ == "__main__":
    serve.start(http_options={"port": int(os.environ["PORT"])})
    serve.run(Served.bind(), route_prefix="/", blocking=True)
