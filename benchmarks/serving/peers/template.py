"""The template that everyone writes: an endpoint in FastAPI's thread pool around session.run. Run by uvicorn."""

from fastapi import Body, FastAPI, Header, Response
from work import Work

app = FastAPI()
work = Work()


@app.post("/")
def answer(body: bytes = Body(), content_type: str = Header()) -> Response:
    return Response(work.answer(body, content_type), media_type=content_type)
