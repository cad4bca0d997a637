"""BentoML: a file in, bytes out."""

import os

import bentoml
from fastapi import FastAPI, Request, Response
from work import Work, decode, encode

web = FastAPI()


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60})
@bentoml.asgi_app(web)
class Served:
    def __init__(self):
        self.work = Work()

    @web.post("/")
    async def answer(self, request: Request) -> Response:
        kind = request.headers["content-type"]
        return Response(encode(self.work.run(decode(await request.body(), kind)), kind), media_type=kind)
