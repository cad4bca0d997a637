"""The service from Python: `Client` and `AsyncClient`, arrays and images in and out.

inputs -> _question -> request -> tries until it is answered -> _result -> array | image | Reconstruction

What is sent as an array comes back as one, what is sent as an image (bytes, or a path) as an image of its format.
Operations change nothing on the server, so a request that was refused for now (429, 503) or whose connection broke is
sent again: after as long as Retry-After says, else after 0.25, 0.5, 1 ... seconds. Nothing here needs onnxruntime.
"""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import httpx2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Image = bytes | Path  # of a picture file: PNG, JPEG, WebP, TIFF, BMP; to denoise, a PDF too
Operation = Literal["encode", "decode", "reconstruct", "denoise"]

URL = "http://127.0.0.1:8000"
NPY, JSON, NDJSON = "application/x-npy", "application/json", "application/x-ndjson"
IN_HEADERS = 100  # samples whose errors come as headers; of more, as JSON


class ServiceProblem(Exception):
    """The service refused: `status`, `title`, `detail` (a sentence), and its further facts (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{detail} ({status} {title})")
        self.status, self.title, self.detail, self.facts = status, title, detail, facts


class ServiceUnreachable(Exception):
    """No answer: nobody listens there, the connection broke, or it took too long; `detail` says which."""

    @property
    def detail(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Reconstruction:
    """`output` as the input was; `error` and `percentile` (0..100, of held-out data), float64 [N]; `unusual`, bool [N],
    if a false-alarm rate was given."""

    output: Array | bytes
    error: NDArray[np.float64]
    percentile: NDArray[np.float64]
    unusual: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Encoded:
    """One file of many: `latents` float32 [N,...], or the `problem` because of which there are none."""

    index: int
    name: str
    latents: NDArray[np.float32] | None
    problem: ServiceProblem | None


@dataclass(frozen=True)
class _Question:
    operation: Operation
    path: str
    content: bytes
    headers: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)


class _Tries:
    """How long to wait before the next try; raises what the last one has to say when there is none."""

    def __init__(self, retries: int) -> None:
        self._left, self._pause = retries, 0.25

    def after(self, outcome: httpx2.Response | httpx2.TransportError) -> float:
        if isinstance(outcome, httpx2.Response):
            if outcome.status_code not in (429, 503) or not self._left:
                raise _problem(outcome)
        elif not self._left or isinstance(outcome, httpx2.TimeoutException):
            raise ServiceUnreachable(_sentence(outcome)) from outcome
        self._left -= 1
        pause, self._pause = self._pause, self._pause * 2
        said = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx2.Response) else ""
        return float(said) if said.isdecimal() else pause


class Client:
    """Blocking; keeps its connections; safe to use from several threads.

    Args:
        url: where the service listens.
        key: API key, if the service wants one.
        timeout: seconds without a byte before a try is given up.
        retries: tries after the first.

    Every operation raises ServiceProblem for what the service refuses and ServiceUnreachable if there is no answer.
    """

    def __init__(self, url: str = URL, *, key: str | None = None, timeout: float = 60, retries: int = 3) -> None:
        self._http = httpx2.Client(base_url=url, headers=_credentials(key), timeout=timeout)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What is served: name, version, kind, description, operations, provider, ... of each."""
        listed: list[dict[str, Any]] = self._sent("GET", "/v1/models", None).json()["models"]
        return listed

    def encode(
        self, model: str, inputs: Array | Image, *, version: int | None = None, fit: str | None = None
    ) -> NDArray[np.float32]:
        """`image` uint8 [N,H,W,C] (or [H,W]), `vector` float32 [N,D], or one image -> latents float32 [N,...]."""
        return _array(self._asked(_question("encode", model, inputs, version, fit=fit)))

    def encode_files(
        self, model: str, files: Sequence[Path], *, version: int | None = None, fit: str | None = None
    ) -> Iterator[Encoded]:
        """Many files in one request, each as soon as it is ready; one that is refused is told, and ends no other."""
        question, tries = _form(model, version, fit), _Tries(self._retries)
        while True:
            with ExitStack() as opened:
                form = [("image", (path.name, opened.enter_context(path.open("rb")))) for path in files]
                try:
                    answer = opened.enter_context(self._http.stream("POST", files=form, **question))
                    if answer.is_success:
                        yield from map(_encoded, answer.iter_lines())
                        return
                    answer.read()
                    pause = tries.after(answer)
                except httpx2.TransportError as broken:
                    raise ServiceUnreachable(_sentence(broken)) from broken
            time.sleep(pause)

    def decode(self, model: str, latents: Array, *, version: int | None = None) -> Array:
        """Latents float32 [N,...] -> `image` uint8 [N,H,W,C] or `vector` float32 [N,D]."""
        return _array(self._asked(_question("decode", model, latents, version)))

    def reconstruct(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        false_alarm_rate: float | None = None,
    ) -> Reconstruction:
        """decode(encode(x)), its reconstruction error and that error's percentile among held-out data.

        With a `false_alarm_rate` (0.01 to 0.5) a verdict too: of samples like the held-out ones that share is unusual.
        """
        asked = _question("reconstruct", model, inputs, version, fit=fit, false_alarm_rate=false_alarm_rate)
        return _reconstruction(self._asked(asked), inputs)

    @overload
    def heatmap(
        self, model: str, inputs: Array, *, version: int | None = None, fit: str | None = None
    ) -> NDArray[np.float32]: ...
    @overload
    def heatmap(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        media_type: str = "image/png",
    ) -> bytes: ...
    def heatmap(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        media_type: str = "image/png",
    ) -> Array | bytes:
        """Where the inputs differ from what the model knows: the squared difference of each pixel (in 0..1) or number,
        float32 [N,H,W] or [N,D]; of one image a picture of its root, or the numbers as bytes of an .npy.
        """
        asked = _question("reconstruct", model, inputs, version, fit=fit, media_type=media_type, explain="heatmap")
        return _output(self._asked(asked), inputs)

    @overload
    def denoise(
        self, model: str, inputs: Array, *, version: int | None = None, strength: float = 1, fit: str | None = None
    ) -> Array: ...
    @overload
    def denoise(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        dpi: int | None = None,
        media_type: str | None = None,
    ) -> bytes: ...
    def denoise(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        dpi: int | None = None,
        media_type: str | None = None,
    ) -> Array | bytes:
        """Noisy -> clean, in the form in which it came, which may be a PDF; an image as `media_type` if that is given.

        `strength`: 0 (nothing) to 1 (all). `dpi`: dots per inch that a PDF's pages are drawn at.
        """
        asked = _question("denoise", model, inputs, version, strength=strength, fit=fit, dpi=dpi, media_type=media_type)
        return _output(self._asked(asked), inputs)

    def _asked(self, question: _Question) -> httpx2.Response:
        return self._sent("POST", question.path, question)

    def _sent(self, method: str, path: str, question: _Question | None) -> httpx2.Response:
        tries = _Tries(self._retries)
        while True:
            try:
                response = self._http.request(method, path, **_arguments(question))
            except httpx2.TransportError as broken:
                time.sleep(tries.after(broken))
                continue
            if response.is_success:
                return response
            time.sleep(tries.after(response))


class AsyncClient:
    """`Client` for asyncio: the same arguments, the same methods, awaited.

    Args:
        transport: in place of the network, as httpx2 takes it: an ASGI application in this process, say.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        timeout: float = 60,
        retries: int = 3,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(base_url=url, headers=_credentials(key), timeout=timeout, transport=transport)
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """See Client.models."""
        listed: list[dict[str, Any]] = (await self._sent("GET", "/v1/models", None)).json()["models"]
        return listed

    async def encode(
        self, model: str, inputs: Array | Image, *, version: int | None = None, fit: str | None = None
    ) -> NDArray[np.float32]:
        """See Client.encode."""
        return _array(await self._asked(_question("encode", model, inputs, version, fit=fit)))

    async def encode_files(
        self, model: str, files: Sequence[Path], *, version: int | None = None, fit: str | None = None
    ) -> AsyncIterator[Encoded]:
        """See Client.encode_files."""
        question, tries = _form(model, version, fit), _Tries(self._retries)
        while True:
            async with AsyncExitStack() as opened:
                form = [("image", (path.name, opened.enter_context(path.open("rb")))) for path in files]
                try:
                    answer = await opened.enter_async_context(self._http.stream("POST", files=form, **question))
                    if answer.is_success:
                        async for line in answer.aiter_lines():
                            yield _encoded(line)
                        return
                    await answer.aread()
                    pause = tries.after(answer)
                except httpx2.TransportError as broken:
                    raise ServiceUnreachable(_sentence(broken)) from broken
            await asyncio.sleep(pause)

    async def decode(self, model: str, latents: Array, *, version: int | None = None) -> Array:
        """See Client.decode."""
        return _array(await self._asked(_question("decode", model, latents, version)))

    async def reconstruct(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        false_alarm_rate: float | None = None,
    ) -> Reconstruction:
        """See Client.reconstruct."""
        asked = _question("reconstruct", model, inputs, version, fit=fit, false_alarm_rate=false_alarm_rate)
        return _reconstruction(await self._asked(asked), inputs)

    @overload
    async def heatmap(
        self, model: str, inputs: Array, *, version: int | None = None, fit: str | None = None
    ) -> NDArray[np.float32]: ...
    @overload
    async def heatmap(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        media_type: str = "image/png",
    ) -> bytes: ...
    async def heatmap(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        media_type: str = "image/png",
    ) -> Array | bytes:
        """See Client.heatmap."""
        asked = _question("reconstruct", model, inputs, version, fit=fit, media_type=media_type, explain="heatmap")
        return _output(await self._asked(asked), inputs)

    @overload
    async def denoise(
        self, model: str, inputs: Array, *, version: int | None = None, strength: float = 1, fit: str | None = None
    ) -> Array: ...
    @overload
    async def denoise(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        dpi: int | None = None,
        media_type: str | None = None,
    ) -> bytes: ...
    async def denoise(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        dpi: int | None = None,
        media_type: str | None = None,
    ) -> Array | bytes:
        """See Client.denoise."""
        asked = _question("denoise", model, inputs, version, strength=strength, fit=fit, dpi=dpi, media_type=media_type)
        return _output(await self._asked(asked), inputs)

    async def _asked(self, question: _Question) -> httpx2.Response:
        return await self._sent("POST", question.path, question)

    async def _sent(self, method: str, path: str, question: _Question | None) -> httpx2.Response:
        tries = _Tries(self._retries)
        while True:
            try:
                response = await self._http.request(method, path, **_arguments(question))
            except httpx2.TransportError as broken:
                await asyncio.sleep(tries.after(broken))
                continue
            if response.is_success:
                return response
            await asyncio.sleep(tries.after(response))


def _question(
    operation: Operation,
    model: str,
    inputs: Array | Image,
    version: int | None,
    *,
    strength: float = 1,
    fit: str | None = None,
    dpi: int | None = None,
    media_type: str | None = None,
    explain: str | None = None,
    false_alarm_rate: float | None = None,
) -> _Question:
    path = _path(model, version, operation)
    query = {} if strength == 1 else {"strength": f"{strength:g}"}
    if fit is not None:
        query["fit"] = fit
    if dpi is not None:
        query["dpi"] = str(dpi)
    if explain is not None:
        query["explain"] = explain
    if false_alarm_rate is not None:
        query["false_alarm_rate"] = str(false_alarm_rate)
    if isinstance(inputs, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, inputs, allow_pickle=False)
        content, headers = buffer.getvalue(), {"Content-Type": NPY, "Accept": NPY}
        if operation == "reconstruct" and explain is None and len(inputs) > IN_HEADERS:
            headers["Accept"] = JSON
    else:
        content = inputs.read_bytes() if isinstance(inputs, Path) else inputs
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept": NPY if operation == "encode" else media_type or "image/*, application/pdf",
        }
    return _Question(operation, path, content, headers, query)


def _path(model: str, version: int | None, operation: Operation) -> str:
    return f"/v1/models/{model}" + (f"/versions/{version}" if version is not None else "") + f"/{operation}"


def _form(model: str, version: int | None, fit: str | None) -> dict[str, Any]:
    query = {} if fit is None else {"fit": fit}
    return {"url": _path(model, version, "encode"), "headers": {"Accept": NDJSON}, "params": query}


def _encoded(line: str) -> Encoded:
    told = json.loads(line)
    problem = told.get("problem")
    if problem is not None:
        refused = ServiceProblem(problem.pop("status"), problem.pop("title"), problem.pop("detail"), problem)
        return Encoded(told["index"], told["name"], None, refused)
    return Encoded(told["index"], told["name"], np.asarray(told["latents"], np.float32), None)


def _arguments(question: _Question | None) -> dict[str, Any]:
    if question is None:
        return {}
    return {"content": question.content, "headers": question.headers, "params": question.query}


def _array(response: httpx2.Response) -> Array:
    return np.asarray(np.load(io.BytesIO(response.content), allow_pickle=False))


def _output(response: httpx2.Response, inputs: Array | Image) -> Array | bytes:
    return _array(response) if isinstance(inputs, np.ndarray) else response.content


def _reconstruction(response: httpx2.Response, inputs: Array | Image) -> Reconstruction:
    if response.headers["Content-Type"] == JSON and isinstance(inputs, np.ndarray):
        document = response.json()
        dtype = np.uint8 if inputs.dtype == np.uint8 else np.float32
        return Reconstruction(
            np.asarray(document["outputs"], dtype),
            np.asarray(document["reconstruction_error"], np.float64),
            np.asarray(document["percentile"], np.float64),
            np.asarray(document["unusual"]) if "unusual" in document else None,
        )
    error, percentile = (
        _numbers(response.headers[name].split(","))
        for name in ("Reconstruction-Error", "Reconstruction-Error-Percentile")
    )
    told = response.headers.get("Reconstruction-Unusual")
    unusual = None if told is None else np.array([word == "true" for word in told.split(", ")])
    return Reconstruction(_output(response, inputs), error, percentile, unusual)


def _numbers(texts: Iterable[str]) -> NDArray[np.float64]:
    return np.array([float(text) for text in texts], np.float64)


def _problem(response: httpx2.Response) -> ServiceProblem:
    """Of a problem document; of anything else, which a proxy may have sent, its first words."""
    try:
        document = response.json()
        title, detail = str(document.pop("title")), str(document.pop("detail"))
    except (ValueError, KeyError, AttributeError, TypeError):
        return ServiceProblem(response.status_code, response.reason_phrase, response.text[:200].strip(), {})
    return ServiceProblem(response.status_code, title, detail, document)


def _sentence(error: httpx2.TransportError) -> str:
    what = "took too long" if isinstance(error, httpx2.TimeoutException) else "cannot be reached"
    return f"the service {what}: {error or type(error).__name__}"


def _credentials(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}
