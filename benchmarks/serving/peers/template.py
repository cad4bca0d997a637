"""The template that everyone writes: an endpoint in FastAPI's thread pool around session.run. Run by uvicorn."""

import os

import numpy as np
from fastapi import Body, FastAPI, Header, Response
from pydantic import BaseModel
from work import Work, encode

app = FastAPI()
work = Work()


class Inputs(BaseModel):
    inputs: list[list[list[list[int]]]]


if os.environ["KIND"] == "application/json":

    @app.post("/")
    def answer_json(sent: Inputs) -> Response:
        output = work.run(np.array(sent.inputs, np.uint8))
        return Response(encode(output, "application/json"), media_type="application/json")

else:

    @app.post("/")
    def answer(body: bytes = Body(), content_type: str = Header()) -> Response:
        return Response(work.answer(body, content_type), media_type=content_type)
