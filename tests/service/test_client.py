"""The Python client against the real application, and against servers that refuse now and then."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image as Pillow

from service import client as module
from service.app import create_app
from service.client import AsyncClient, Client, Reconstruction, ServiceProblem, ServiceUnreachable
from service.settings import Settings
from tests.service import packages as doubles


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)))


async def asked(models: Path, work: Callable[[AsyncClient], Any]) -> Any:
    app = create_app(Settings(models=models))
    async with (
        app.fallback.router.lifespan_context(app.fallback),
        AsyncClient("http://here", transport=httpx2.ASGITransport(app), retries=0) as client,
    ):
        return await work(client)


def answering(
    outcomes: list[httpx2.Response | Exception], monkeypatch: pytest.MonkeyPatch
) -> tuple[Client, list[float]]:
    """A client whose server gives these, one after another, and the pauses that it made."""
    pauses: list[float] = []
    monkeypatch.setattr("service.client.time.sleep", pauses.append)

    def handler(_: httpx2.Request) -> httpx2.Response:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    client = Client(retries=3, key="secret")
    client._http = httpx2.Client(base_url=module.URL, transport=httpx2.MockTransport(handler))
    return client, pauses


def test_arrays_come_back_as_arrays_and_images_as_images(models: Path) -> None:
    drawing = np.arange(784, dtype=np.uint8).reshape(28, 28)

    async def work(client: AsyncClient) -> tuple[Any, ...]:
        latents = await client.encode("small", drawing)
        return (
            latents,
            await client.encode("small", png(drawing), version=1),
            await client.decode("small", latents),
            await client.reconstruct("small", png(drawing)),
            await client.reconstruct("small", np.repeat(drawing[None], 101, axis=0)),
            [model["name"] for model in await client.models()],
        )

    latents, same, decoded, reconstruction, many, names = asyncio.run(asked(models, work))
    assert latents.shape == (1, 32)
    assert latents.dtype == np.float32
    assert (latents == same).all()
    assert decoded.shape == (1, 28, 28, 1)
    assert (decoded[0, 0, :, 0] == drawing[0]).all(), "what the double keeps"
    assert isinstance(reconstruction, Reconstruction)
    assert isinstance(reconstruction.output, bytes)
    assert (pixels(reconstruction.output) == decoded[0, :, :, 0]).all()
    assert many.error.shape == many.percentile.shape == (101,), "more than headers hold"
    assert many.output.dtype == np.uint8
    assert many.error[0] == pytest.approx(reconstruction.error[0], rel=1e-4)
    assert "small" in names


def test_new_samples_are_drawn_by_both_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operations: Any = ("encode", "decode", "reconstruct", "sample")
    doubles.write(tmp_path, "drawer", doubles.image_graphs(), kind="variational", operations=operations)

    async def work(client: AsyncClient) -> tuple[Any, ...]:
        return (
            await client.sample("drawer", 3, seed=1),
            await client.sample("drawer", 2, seed=1, version=1),
            await client.sample("drawer"),
        )

    three, two, one = asyncio.run(asked(tmp_path, work))
    assert three.shape == (3, 28, 28, 1)
    assert (three[:2] == two).all()
    assert one.shape == (1, 28, 28, 1)
    buffer = io.BytesIO()
    np.save(buffer, three)
    client, _ = answering([httpx2.Response(200, content=buffer.getvalue())], monkeypatch)
    assert (client.sample("drawer", 3, seed=1) == three).all()


def test_an_image_is_denoised_in_the_format_that_is_asked_for(tmp_path: Path) -> None:
    models = doubles.write_denoisers(tmp_path / "m")
    (tmp_path / "noisy.png").write_bytes(png(np.full((9, 13), 100, np.uint8)))

    async def work(client: AsyncClient) -> tuple[Any, ...]:
        name = next(m["name"] for m in await client.models() if "denoise" in m["operations"] and m["name"] == "page")
        given = np.full((1, 9, 13, 1), 100, np.uint8)
        return (
            await client.denoise(name, tmp_path / "noisy.png"),
            await client.denoise(name, tmp_path / "noisy.png", media_type="image/webp"),
            await client.denoise(name, given),
            await client.denoise(name, given, strength=0),
        )

    as_png, as_webp, array, untouched = asyncio.run(asked(models, work))
    assert Pillow.open(io.BytesIO(as_png)).format == "PNG"
    assert Pillow.open(io.BytesIO(as_webp)).format == "WEBP"
    assert (pixels(as_png) == array[0, :, :, 0]).all()
    assert (array != 100).any()
    assert (untouched == 100).all()


def test_a_refusal_is_an_exception_that_has_its_facts(models: Path) -> None:
    with pytest.raises(ServiceProblem, match="there is no model 'nope'") as refused:
        asyncio.run(asked(models, lambda client: client.encode("nope", np.zeros((28, 28), np.uint8))))
    assert refused.value.status == 404
    assert refused.value.title == "Unknown model"
    assert "small" in refused.value.facts["models"]


def test_what_is_refused_for_now_is_asked_again_when_the_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = httpx2.Response(200, json={"models": []})
    busy = httpx2.Response(429, json={"title": "Overloaded", "detail": "try again"}, headers={"Retry-After": "7"})
    client, pauses = answering([busy, httpx2.Response(503), httpx2.ConnectError("refused"), fine], monkeypatch)
    assert client.models() == []
    assert pauses == [7, 0.5, 1], "as it says, else a little longer each time"
    client, pauses = answering([busy] * 4, monkeypatch)
    with pytest.raises(ServiceProblem, match=r"try again \(429 Overloaded\)"):
        client.models()
    assert len(pauses) == 3


@pytest.mark.parametrize(
    ("outcome", "kind", "sentence"),
    [
        (
            httpx2.Response(404, json={"title": "Unknown model", "detail": "there is none"}),
            ServiceProblem,
            "there is none",
        ),
        (httpx2.Response(502, text="<h1>Bad gateway</h1>"), ServiceProblem, "Bad gateway"),
        (httpx2.ReadTimeout("slow"), ServiceUnreachable, "took too long: slow"),
    ],
)
def test_what_another_try_would_not_change_is_told_at_once(
    outcome: httpx2.Response | Exception, kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pauses = answering([outcome], monkeypatch)
    with pytest.raises(kind, match=sentence):
        client.encode("m", np.zeros((1, 2), np.float32))
    assert pauses == []


def test_who_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.time.sleep", lambda _: None)
    with (
        Client("http://127.0.0.1:9", retries=1) as client,
        pytest.raises(ServiceUnreachable, match="cannot be reached"),
    ):
        client.models()


def test_the_key_is_sent_as_a_bearer() -> None:
    with Client(key="secret") as client:
        assert client._http.headers["Authorization"] == "Bearer secret"


def test_a_table_comes_back_as_a_table(models: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("who,a,b,c,d,e,f\nx,1,2,3,4,5,6\n")

    async def work(client: AsyncClient) -> tuple[Any, ...]:
        latents = await client.convert_table("encode", "signal", tmp_path / "rows.csv")
        again = await client.convert_table("decode", "signal", latents)
        errors = await client.convert_table("reconstruct", "signal", b"1,2,3,4,5,6\n", false_alarm_rate=0.5)
        return latents, again, errors, (await client.model("signal"))["ports"]["vector"]["shape"]

    latents, again, errors, shape = asyncio.run(asked(models, work))
    assert latents.splitlines()[1] == b"x,2.0,4.0,6.0,8.0,10.0,12.0"
    assert again.splitlines()[1] == b"x,1.0,2.0,3.0,4.0,5.0,6.0"
    assert errors.splitlines()[0].endswith(b"reconstruction_error,percentile,unusual,score,score_percentile")
    assert shape == ["N", 6]
