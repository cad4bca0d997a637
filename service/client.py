"""Python clients of the service: `Client` and `AsyncClient`, arrays and images in and out.

operation -> _Call(request, parse) -> sent until there is a response (_RetryPolicy) -> parse -> array | image | ...

An array is answered by an array, an image (bytes, or a path) by an image of its format. No operation changes anything
on the server, so a request that was refused temporarily (429, 503) or whose connection broke is sent again: after the
seconds in Retry-After, else after 0.25, 0.5, 1 ... seconds. Nothing here needs onnxruntime.
"""

import asyncio
import base64
import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Literal, Self, TypeVar, overload

import httpx2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Image = bytes | Path  # an image file: PNG, JPEG, WebP, TIFF, AVIF, ...; for denoise also a PDF
TableOperation = Literal["encode", "decode", "reconstruct"]
Operation = Literal["encode", "decode", "reconstruct", "denoise", "sample"]

URL = "http://127.0.0.1:8000"
ANY_IMAGE = "image/*, application/pdf"
NPY, JSON, NDJSON = "application/x-npy", "application/json", "application/x-ndjson"
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
MAX_HEADER_SAMPLES = 100  # up to so many samples their errors are response headers; of more, the response is JSON

Result = TypeVar("Result")


class ServiceProblem(Exception):
    """The service refused: `status`, `title`, `detail` (a sentence), and further members in `facts` (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{detail} ({status} {title})")
        self.status, self.title, self.detail, self.facts = status, title, detail, facts


class ServiceUnreachable(Exception):
    """No response: the connection was refused or broke, or a timeout passed; `detail` says which."""

    @property
    def detail(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Reconstruction:
    """`output`: of the input's type. `error`: mean squared error, float64 [N]. `percentile`: rank of that error among
    those of held-out data, 0..100, float64 [N]. With a false-alarm rate only: `unusual`, bool [N]; `score`, by which
    that is decided; `score_percentile`: rank of that score, 0..100, float64 [N]."""

    output: Array | bytes
    error: NDArray[np.float64]
    percentile: NDArray[np.float64]
    unusual: NDArray[np.bool_] | None = None
    score: str | None = None
    score_percentile: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Encoded:
    """One file of many: its `latents`, float32 [N,...], or the `problem` for which it was refused; one is None."""

    index: int
    name: str
    latents: NDArray[np.float32] | None
    problem: ServiceProblem | None


@dataclass(frozen=True)
class Denoised:
    """One file of many: the clean `image` of `media_type`, or the `problem` for which it was refused; one is None.

    `dropped`: what the file held and the image does not, "" if nothing.
    """

    index: int
    name: str
    image: bytes | None
    media_type: str
    dropped: str
    problem: ServiceProblem | None


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As `request` and `stream` of httpx2's clients take them."""
        return {"method": self.method, "url": self.path, "headers": self.headers, "params": self.query}


@dataclass(frozen=True)
class _Call(Generic[Result]):
    """One operation: the request, and what makes its result of a successful response. Both clients only send it."""

    request: _Request
    parse: Callable[[httpx2.Response], Result]


class _RetryPolicy:
    """The pauses between the attempts to send one request: Retry-After, else exponential backoff from 0.25 s.

    Args:
        retries: attempts after the first.
    """

    def __init__(self, retries: int) -> None:
        self._remaining, self._backoff = retries, 0.25

    def pause_after(self, outcome: httpx2.Response | httpx2.TransportError) -> float:
        """Seconds until the next attempt.

        Raises:
            ServiceProblem: no retry can help, or none remains, after a response.
            ServiceUnreachable: the same after a transport error.
        """
        if isinstance(outcome, httpx2.Response):
            if outcome.status_code not in (429, 503) or not self._remaining:
                raise _problem(outcome)
        elif not self._remaining or isinstance(outcome, httpx2.TimeoutException):
            raise _unreachable(outcome) from outcome
        self._remaining -= 1
        pause, self._backoff = self._backoff, self._backoff * 2
        retry_after = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx2.Response) else ""
        return float(retry_after) if retry_after.isdecimal() else pause


class Client:
    """Blocking; keeps its connections; safe to use from several threads.

    Args:
        url: address of the service.
        key: API key, if the service requires one.
        timeout: seconds without a byte after which an attempt is given up.
        retries: attempts after the first.

    Every operation raises ServiceProblem if the service refuses it and ServiceUnreachable if there is no response.
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
        """The served models: name, version, kind, description, operations, provider, ... of each."""
        return self._call(_models_call())

    def model(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """The facts of one model: its ports, the columns of its vectors, its measurements, ..."""
        return self._call(_model_call(name, version))

    def convert_table(
        self,
        operation: TableOperation,
        model: str,
        table: bytes | Path,
        *,
        media_type: str = CSV,
        accept: str | None = None,
        version: int | None = None,
        false_alarm_rate: float | None = None,
    ) -> bytes:
        """Encode, decode or reconstruct the rows of a CSV or Parquet file -> the result as such a file.

        Columns are taken by name, and the others are carried along. `media_type`: of `table` in bytes (CSV, PARQUET);
        a path says it by its suffix. `accept`: the media type of the result; default: that of the table.
        """
        return self._call(_table_call(operation, model, table, media_type, accept, version, false_alarm_rate))

    def encode(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        scaled: bool = False,
        top: int | None = None,
    ) -> NDArray[np.float32]:
        """`image` uint8 [N,H,W,C] (or [H,W]), `vector` [N,D], or one image -> latents float32 [N,...].

        `scaled`: as diffusion models take them, of autoencoders of image generators.
        `top`: of each latent the numbers of largest magnitude, [N,2,top]: indices and values, the largest first.
        """
        return self._call(_encode_call(model, inputs, version, fit, white, scaled, top))

    def encode_files(
        self, model: str, files: Sequence[Path], *, version: int | None = None, fit: str | None = None
    ) -> Iterator[Encoded]:
        """Encode many files in one request; yields each as soon as it is ready, a refused one with its problem."""
        for line in self._stream_files(_files_request("encode", model, version, _query(fit=fit)), files):
            yield _parse_encoded(line, files)

    def denoise_files(
        self,
        model: str,
        files: Sequence[Path],
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
    ) -> Iterator[Denoised]:
        """Denoise many images, of any sizes, in one request; yields as `encode_files` does."""
        query = _query(strength=strength, fit=fit, bits=bits, white=white, figures=figures)
        for line in self._stream_files(_files_request("denoise", model, version, query), files):
            yield _parse_denoised(line, files)

    def _stream_files(self, request: _Request, files: Sequence[Path]) -> Iterator[str]:
        retry = _RetryPolicy(self._retries)
        while True:
            with ExitStack() as stack:
                form = _open_form(files, stack)
                try:
                    response = stack.enter_context(self._http.stream(**request.arguments, files=form))
                    if response.is_success:
                        yield from response.iter_lines()
                        return
                    response.read()
                    pause = retry.pause_after(response)
                except httpx2.TransportError as error:
                    raise _unreachable(error) from error
            time.sleep(pause)

    def decode(self, model: str, latents: Array, *, version: int | None = None, scaled: bool = False) -> Array:
        """Latents float32 [N,...], or what `encode` answers with `top` -> `image` uint8 [N,H,W,C] or `vector` [N,D].

        `scaled`: the latents are as diffusion models have them.
        """
        return self._call(_decode_call(model, latents, version, scaled))

    def reconstruct(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        false_alarm_rate: float | None = None,
    ) -> Reconstruction:
        """decode(encode(x)), its reconstruction error and that error's percentile among held-out data.

        With a `false_alarm_rate` (0.01 to 0.5) also a verdict: that share of samples like the held-out ones is unusual.
        """
        return self._call(_reconstruct_call(model, inputs, version, fit, white, false_alarm_rate))

    @overload
    def heatmap(
        self,
        model: str,
        inputs: Array,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
    ) -> NDArray[np.float32]: ...
    @overload
    def heatmap(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        media_type: str = "image/png",
    ) -> bytes: ...
    def heatmap(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        media_type: str = "image/png",
    ) -> Array | bytes:
        """The squared difference between input and reconstruction of each pixel (in 0..1) or number, float32 [N,H,W] or
        [N,D]; of one image file a picture of its root, or the numbers as bytes of an .npy.
        """
        return self._call(_heatmap_call(model, inputs, version, fit, white, media_type))

    @overload
    def denoise(
        self,
        model: str,
        inputs: Array,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
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
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
        media_type: str | None = None,
        on_dropped: Callable[[str], None] | None = None,
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
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
        media_type: str | None = None,
        on_dropped: Callable[[str], None] | None = None,
    ) -> Array | bytes:
        """Noisy -> clean, of the input's type, which may be a PDF; an image as `media_type` if that is given.

        `strength`: 0 (no denoising) to 1 (full); up to 2: the result is denoised again.
        `dpi`: dots per inch at which a PDF's pages are rendered.
        `bits`: 1, 4 or 8 of a channel in the result. `white`: the value of white in pixels of more than 8 bits.
        `figures`, of models of pages: "keep" (the default) leaves photographs as they are, "clean" cleans all.
        `on_dropped`: called with the header Dropped-Metadata, if the result lacks something that the file held.
        """
        call = _denoise_call(model, inputs, version, strength, fit, dpi, bits, white, figures, media_type, on_dropped)
        return self._call(call)

    def neighbours(
        self, model: str, inputs: Array | Image, count: int = 8, *, version: int | None = None, fit: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """Row, name and distance of the `count` nearest samples of the package's index, for each sample."""
        return self._call(_neighbours_call(model, inputs, count, version, fit))

    def sample(self, model: str, count: int = 1, *, seed: int | None = None, version: int | None = None) -> Array:
        """New samples, decoded from draws from the latent's prior: uint8 [count,H,W,C] or vectors [count,D].

        The same `seed`, 0 to 999,999,999, draws the same samples; a larger count begins with those of a smaller one.
        """
        return self._call(_sample_call(model, count, seed, version))

    def _call(self, call: _Call[Result]) -> Result:
        retry = _RetryPolicy(self._retries)
        while True:
            try:
                response = self._http.request(**call.request.arguments, content=call.request.content)
            except httpx2.TransportError as error:
                pause = retry.pause_after(error)
            else:
                if response.is_success:
                    return call.parse(response)
                pause = retry.pause_after(response)
            time.sleep(pause)


class AsyncClient:
    """`Client` for asyncio: the same arguments, the same methods, awaited.

    Args:
        transport: replaces the network, e.g. httpx2.ASGITransport(app) for an application in this process.
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
        return await self._call(_models_call())

    async def model(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """See Client.model."""
        return await self._call(_model_call(name, version))

    async def convert_table(
        self,
        operation: TableOperation,
        model: str,
        table: bytes | Path,
        *,
        media_type: str = CSV,
        accept: str | None = None,
        version: int | None = None,
        false_alarm_rate: float | None = None,
    ) -> bytes:
        """See Client.convert_table."""
        call = _table_call(operation, model, table, media_type, accept, version, false_alarm_rate)
        return await self._call(call)

    async def encode(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        scaled: bool = False,
        top: int | None = None,
    ) -> NDArray[np.float32]:
        """See Client.encode."""
        return await self._call(_encode_call(model, inputs, version, fit, white, scaled, top))

    async def encode_files(
        self, model: str, files: Sequence[Path], *, version: int | None = None, fit: str | None = None
    ) -> AsyncIterator[Encoded]:
        """See Client.encode_files."""
        async for line in self._stream_files(_files_request("encode", model, version, _query(fit=fit)), files):
            yield _parse_encoded(line, files)

    async def denoise_files(
        self,
        model: str,
        files: Sequence[Path],
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
    ) -> AsyncIterator[Denoised]:
        """See Client.denoise_files."""
        query = _query(strength=strength, fit=fit, bits=bits, white=white, figures=figures)
        async for line in self._stream_files(_files_request("denoise", model, version, query), files):
            yield _parse_denoised(line, files)

    async def _stream_files(self, request: _Request, files: Sequence[Path]) -> AsyncIterator[str]:
        retry = _RetryPolicy(self._retries)
        while True:
            async with AsyncExitStack() as stack:
                form = _open_form(files, stack)
                try:
                    response = await stack.enter_async_context(self._http.stream(**request.arguments, files=form))
                    if response.is_success:
                        async for line in response.aiter_lines():
                            yield line
                        return
                    await response.aread()
                    pause = retry.pause_after(response)
                except httpx2.TransportError as error:
                    raise _unreachable(error) from error
            await asyncio.sleep(pause)

    async def decode(self, model: str, latents: Array, *, version: int | None = None, scaled: bool = False) -> Array:
        """See Client.decode."""
        return await self._call(_decode_call(model, latents, version, scaled))

    async def reconstruct(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        false_alarm_rate: float | None = None,
    ) -> Reconstruction:
        """See Client.reconstruct."""
        return await self._call(_reconstruct_call(model, inputs, version, fit, white, false_alarm_rate))

    @overload
    async def heatmap(
        self,
        model: str,
        inputs: Array,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
    ) -> NDArray[np.float32]: ...
    @overload
    async def heatmap(
        self,
        model: str,
        inputs: Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        media_type: str = "image/png",
    ) -> bytes: ...
    async def heatmap(
        self,
        model: str,
        inputs: Array | Image,
        *,
        version: int | None = None,
        fit: str | None = None,
        white: float | None = None,
        media_type: str = "image/png",
    ) -> Array | bytes:
        """See Client.heatmap."""
        return await self._call(_heatmap_call(model, inputs, version, fit, white, media_type))

    @overload
    async def denoise(
        self,
        model: str,
        inputs: Array,
        *,
        version: int | None = None,
        strength: float = 1,
        fit: str | None = None,
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
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
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
        media_type: str | None = None,
        on_dropped: Callable[[str], None] | None = None,
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
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
        media_type: str | None = None,
        on_dropped: Callable[[str], None] | None = None,
    ) -> Array | bytes:
        """See Client.denoise."""
        call = _denoise_call(model, inputs, version, strength, fit, dpi, bits, white, figures, media_type, on_dropped)
        return await self._call(call)

    async def neighbours(
        self, model: str, inputs: Array | Image, count: int = 8, *, version: int | None = None, fit: str | None = None
    ) -> list[list[dict[str, Any]]]:
        """See Client.neighbours."""
        return await self._call(_neighbours_call(model, inputs, count, version, fit))

    async def sample(self, model: str, count: int = 1, *, seed: int | None = None, version: int | None = None) -> Array:
        """See Client.sample."""
        return await self._call(_sample_call(model, count, seed, version))

    async def _call(self, call: _Call[Result]) -> Result:
        retry = _RetryPolicy(self._retries)
        while True:
            try:
                response = await self._http.request(**call.request.arguments, content=call.request.content)
            except httpx2.TransportError as error:
                pause = retry.pause_after(error)
            else:
                if response.is_success:
                    return call.parse(response)
                pause = retry.pause_after(response)
            await asyncio.sleep(pause)


# --- the calls: what is sent, and how its response is read -----------------------------------------------------


def _models_call() -> _Call[list[dict[str, Any]]]:
    return _Call(_Request("GET", "/v1/models"), _parse_models)


def _model_call(name: str, version: int | None) -> _Call[dict[str, Any]]:
    path = f"/v1/models/{name}" + (f"/versions/{version}" if version is not None else "")
    return _Call(_Request("GET", path), _parse_document)


def _neighbours_call(
    model: str, inputs: Array | Image, count: int, version: int | None, fit: str | None
) -> _Call[list[list[dict[str, Any]]]]:
    encode = _post("encode", model, inputs, version, _query(fit=fit, count=count), accept=JSON, accept_for_array=JSON)
    path = encode.path.removesuffix("encode") + "neighbours"
    return _Call(replace(encode, path=path), lambda response: response.json()["neighbours"])


def _table_call(
    operation: TableOperation,
    model: str,
    table: bytes | Path,
    media_type: str,
    accept: str | None,
    version: int | None,
    false_alarm_rate: float | None,
) -> _Call[bytes]:
    if isinstance(table, Path):
        media_type = PARQUET if table.suffix.lower() in (".parquet", ".pq") else CSV
        table = table.read_bytes()
    headers = {"Content-Type": media_type, "Accept": accept or media_type}
    query = _query(false_alarm_rate=false_alarm_rate)
    return _Call(_Request("POST", _path(model, version, operation), headers, query, table), _parse_content)


def _encode_call(
    model: str,
    inputs: Array | Image,
    version: int | None,
    fit: str | None,
    white: float | None,
    scaled: bool,
    top: int | None,
) -> _Call[Array]:
    query = _query(fit=fit, white=white, latents="scaled" if scaled else None, top=top)
    return _Call(_post("encode", model, inputs, version, query, accept=NPY), _parse_array)


def _files_request(operation: Operation, model: str, version: int | None, query: dict[str, str]) -> _Request:
    return _Request("POST", _path(model, version, operation), {"Accept": NDJSON}, query)


def _decode_call(model: str, latents: Array, version: int | None, scaled: bool) -> _Call[Array]:
    query = _query(latents="scaled" if scaled else None)
    return _Call(_post("decode", model, latents, version, query), _parse_array)


def _sample_call(model: str, count: int, seed: int | None, version: int | None) -> _Call[Array]:
    query = _query(count=count, seed=seed)
    return _Call(_Request("POST", _path(model, version, "sample"), {"Accept": NPY}, query), _parse_array)


def _reconstruct_call(
    model: str,
    inputs: Array | Image,
    version: int | None,
    fit: str | None,
    white: float | None,
    false_alarm_rate: float | None,
) -> _Call[Reconstruction]:
    query = _query(fit=fit, white=white, false_alarm_rate=false_alarm_rate)
    has_many = isinstance(inputs, np.ndarray) and len(inputs) > MAX_HEADER_SAMPLES
    request = _post("reconstruct", model, inputs, version, query, accept_for_array=JSON if has_many else NPY)
    return _Call(request, partial(_parse_reconstruction, inputs))


def _heatmap_call(
    model: str, inputs: Array | Image, version: int | None, fit: str | None, white: float | None, media_type: str
) -> _Call[Array | bytes]:
    query = _query(fit=fit, white=white, explain="heatmap")
    return _Call(_post("reconstruct", model, inputs, version, query, accept=media_type), partial(_parse_output, inputs))


def _denoise_call(
    model: str,
    inputs: Array | Image,
    version: int | None,
    strength: float,
    fit: str | None,
    dpi: int | None,
    bits: int | None,
    white: float | None,
    figures: str | None,
    media_type: str | None,
    on_dropped: Callable[[str], None] | None,
) -> _Call[Array | bytes]:
    query = _query(
        strength=None if strength == 1 else f"{strength:g}", fit=fit, dpi=dpi, bits=bits, white=white, figures=figures
    )
    request = _post("denoise", model, inputs, version, query, accept=media_type or ANY_IMAGE)

    def parse(response: httpx2.Response) -> Array | bytes:
        dropped = response.headers.get("Dropped-Metadata")
        if dropped is not None and on_dropped is not None:
            on_dropped(dropped)
        return _parse_output(inputs, response)

    return _Call(request, parse)


def _post(
    operation: Operation,
    model: str,
    inputs: Array | Image,
    version: int | None,
    query: dict[str, str] | None = None,
    *,
    accept: str = ANY_IMAGE,
    accept_for_array: str = NPY,
) -> _Request:
    """The request of an operation; its Accept is `accept` for an image, `accept_for_array` for an array."""
    if isinstance(inputs, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, inputs, allow_pickle=False)
        content, headers = buffer.getvalue(), {"Content-Type": NPY, "Accept": accept_for_array}
    else:
        content = _read_file(inputs)
        headers = {"Content-Type": "application/octet-stream", "Accept": accept}
    return _Request("POST", _path(model, version, operation), headers, query or {}, content)


def _read_file(source: Any) -> bytes:
    """The bytes of an image file; TypeError for what is neither a file nor an array, such as a list."""
    if isinstance(source, Path):
        return source.read_bytes()
    if hasattr(source, "read"):
        source = source.read()
    if not isinstance(source, bytes | bytearray | memoryview):
        kind = type(source).__name__
        remedy = "pathlib.Path names a file" if isinstance(source, str) else "numpy.asarray makes an array of numbers"
        raise TypeError(f"inputs are a numpy array, or an image file as bytes or pathlib.Path, not {kind}: {remedy}")
    return bytes(source)


def _path(model: str, version: int | None, operation: Operation) -> str:
    return f"/v1/models/{model}" + (f"/versions/{version}" if version is not None else "") + f"/{operation}"


def _query(**parameters: str | float | None) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _open_form(files: Sequence[Path], stack: ExitStack | AsyncExitStack) -> list[tuple[str, tuple[str, BinaryIO]]]:
    """A multipart form of the files, which are open until the stack is closed."""
    return [("image", (_to_utf8(path.name), stack.enter_context(path.open("rb")))) for path in files]


def _to_utf8(name: str) -> str:
    """A file name that can be sent: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def _credentials(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


# --- responses ------------------------------------------------------------------------------------------------


def _parse_document(response: httpx2.Response) -> dict[str, Any]:
    document: dict[str, Any] = response.json()
    return document


def _parse_content(response: httpx2.Response) -> bytes:
    return response.content


def _parse_models(response: httpx2.Response) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = response.json()["models"]
    return models


def _parse_array(response: httpx2.Response) -> Array:
    return np.asarray(np.load(io.BytesIO(response.content), allow_pickle=False))


def _parse_output(inputs: Array | Image, response: httpx2.Response) -> Array | bytes:
    return _parse_array(response) if isinstance(inputs, np.ndarray) else response.content


def _parse_reconstruction(inputs: Array | Image, response: httpx2.Response) -> Reconstruction:
    if response.headers["Content-Type"] == JSON and isinstance(inputs, np.ndarray):
        document = response.json()
        dtype = inputs.dtype if inputs.dtype in (np.uint8, np.float32) else np.float64
        return Reconstruction(
            np.asarray(document["outputs"], dtype),
            np.asarray(document["reconstruction_error"], np.float64),
            np.asarray(document["percentile"], np.float64),
            np.asarray(document["unusual"]) if "unusual" in document else None,
            document.get("score"),
            np.asarray(document["score_percentile"], np.float64) if "score_percentile" in document else None,
        )
    error, percentile = (
        _parse_numbers(response.headers[name].split(","))
        for name in ("Reconstruction-Error", "Reconstruction-Error-Percentile")
    )
    header = response.headers.get("Reconstruction-Unusual")
    unusual = None if header is None else np.array([word == "true" for word in header.split(", ")])
    ranks = response.headers.get("Reconstruction-Score-Percentile")
    score_percentile = None if ranks is None else _parse_numbers(ranks.split(","))
    score = response.headers.get("Reconstruction-Score")
    return Reconstruction(_parse_output(inputs, response), error, percentile, unusual, score, score_percentile)


def _parse_numbers(texts: Iterable[str]) -> NDArray[np.float64]:
    return np.array([float(text) for text in texts], np.float64)


def _parse_encoded(line: str, files: Sequence[Path]) -> Encoded:
    """One line of NDJSON; the name is that of the caller's file, which the response may spell in another way."""
    document = json.loads(line)
    latents, index = document.get("latents"), document["index"]
    latents = None if latents is None else np.asarray(latents, np.float32)
    return Encoded(index, files[index].name, latents, _line_problem(document))


def _parse_denoised(line: str, files: Sequence[Path]) -> Denoised:
    document = json.loads(line)
    index, problem = document["index"], _line_problem(document)
    if "outputs" in document:  # of an .npy
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(document["outputs"]), allow_pickle=False)
        return Denoised(index, files[index].name, buffer.getvalue(), NPY, "", None)
    image = None if problem is not None else base64.b64decode(document["image"])
    media_type, dropped = document.get("media_type", ""), document.get("dropped_metadata", "")
    return Denoised(index, files[index].name, image, media_type, dropped, problem)


def _line_problem(document: dict[str, Any]) -> ServiceProblem | None:
    problem = document.get("problem")
    if problem is None:
        return None
    return ServiceProblem(problem.pop("status"), problem.pop("title"), problem.pop("detail"), problem)


def _problem(response: httpx2.Response) -> ServiceProblem:
    """The error in a problem document; of any other body, e.g. a proxy's, its first 200 characters."""
    try:
        document = response.json()
        title, detail = str(document.pop("title")), str(document.pop("detail"))
    except (ValueError, KeyError, AttributeError, TypeError):
        return ServiceProblem(response.status_code, response.reason_phrase, response.text[:200].strip(), {})
    return ServiceProblem(response.status_code, title, detail, document)


def _unreachable(error: httpx2.TransportError) -> ServiceUnreachable:
    failure = "took too long" if isinstance(error, httpx2.TimeoutException) else "cannot be reached"
    return ServiceUnreachable(f"the service {failure}: {error or type(error).__name__}")
