"""The floor of HTTP: a FastAPI route that reads the body and returns as many bytes as the real answer has."""

import os

from fastapi import FastAPI, Request, Response

app = FastAPI()
ANSWER = b"0" * int(os.environ["ANSWER_BYTES"])


@app.post("/")
async def answer(request: Request) -> Response:
    await request.body()
    return Response(ANSWER, media_type="application/octet-stream")
