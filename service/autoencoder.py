"""A model package in this process, without a server: `Autoencoder("models/cats-stacked").encode(images)`.

package -> service.in_process on an event loop in a thread of its own -> service.client -> array | image | ...

Inputs, results and errors are those of service.client.Client, since it is the same code; nothing goes over a network.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from service import in_process
from service.api.query import PARAMETERS
from service.client import Array, Image, Reconstruction
from service.model.errors import PackageError
from service.model.package import MANIFEST
from service.model.providers import Precision, Provider
from service.repository.registry import select_default
from service.repository.store import open_store
from service.settings import Settings

MAX_REQUEST_BYTES = 1 << 26  # of an array; a larger one is computed in parts
MAX_REQUEST_SAMPLES = 1024

Result = TypeVar("Result")


class Autoencoder:
    """One package. Safe to use from several threads, in notebooks, and after pickling; not after `close`.

    Args:
        package: `models/<name>`, of which the default version is opened, else the newest; or `models/<name>/<version>`.
        provider, precision: as the settings of the service (docs/deploy.md).
        workers: model runs side by side; default: the number of cores.
    Raises:
        PackageError: there is no package, or it is not one that the service would serve.

    An array of any number of samples is answered by an array, an image (bytes, or a path) by an image. Every operation
    raises service.client.ServiceProblem if the input is not one for the model; `detail` is the sentence.
    """

    def __init__(
        self,
        package: str | os.PathLike[str],
        *,
        provider: Provider = "auto",
        precision: Precision = "auto",
        workers: int | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {"provider": provider, "precision": precision, "workers": workers}
        self.path = Path(package)
        models, key = _find_package(self.path)
        overrides: dict[str, Any] = {"models": models, "provider": provider, "precision": precision, "tracing": False}
        if workers is not None:
            overrides["workers"] = workers
        app = in_process.create_application(Settings(**overrides), key)
        self._model = app.services.registry.get(key.partition("/")[0], None)
        self.name, self.version = self._model.manifest.name, self._model.manifest.version
        self.operations = tuple(self._model.manifest.operations)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"autoencoder {self.name}", daemon=True)
        self._thread.start()
        self._resources = AsyncExitStack()
        self._client = self._wait(self._resources.enter_async_context(in_process.open_client(app)))

    def __repr__(self) -> str:
        return f"Autoencoder({str(self.path)!r}): version {self.version}, {', '.join(self.operations)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._arguments), (self.path.absolute(),)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and free the model; a second call does nothing."""
        if self._thread.is_alive():
            self._wait(self._resources.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def encode(
        self,
        inputs: Array | Image | str,
        *,
        fit: str | None = None,
        white: float | None = None,
        scaled: bool = False,
        top: int | None = None,
    ) -> NDArray[np.float32]:
        """`image` uint8 [N,H,W,C] (or [H,W]), `vector` [N,D], or one image -> latents float32 [N,...].

        `scaled`: as diffusion models take them, of autoencoders of image generators.
        `top`: of each latent the numbers of largest magnitude, [N,2,top]: indices and values, the largest first.
        """
        call = partial(self._client.encode, self.name, fit=fit, white=white, scaled=scaled, top=top)
        return np.concatenate([self._wait(call(part)) for part in self._split(inputs)])

    def decode(self, latents: Array, *, scaled: bool = False) -> Array:
        """Latents float32 [N,...], or what `encode` answers with `top` -> `image` uint8 [N,H,W,C] or `vector` [N,D].

        `scaled`: the latents are as diffusion models have them.
        """
        call = partial(self._client.decode, self.name, scaled=scaled)
        return np.concatenate([self._wait(call(part)) for part in self._split(latents, is_latent=True)])

    def sample(self, count: int = 1, *, seed: int | None = None) -> Array:
        """New samples, decoded from draws from the latent's prior: uint8 [count,H,W,C] or vectors [count,D].

        The same `seed`, 0 to 999,999,999, draws the same samples; a larger count begins with those of a smaller one.
        """
        seed = secrets.randbelow(PARAMETERS["seed"].schema["maximum"] + 1) if seed is None else seed
        is_in_parts = MAX_REQUEST_SAMPLES < count <= PARAMETERS["count"].schema["maximum"]
        start = MAX_REQUEST_SAMPLES if is_in_parts else count
        samples = self._wait(self._client.sample(self.name, start, seed=seed))
        if not is_in_parts:
            return samples
        return np.concatenate([samples, self.decode(self._model.draw_latents(count, seed)[start:])])

    def reconstruct(
        self,
        inputs: Array | Image | str,
        *,
        fit: str | None = None,
        white: float | None = None,
        false_alarm_rate: float | None = None,
    ) -> Reconstruction:
        """decode(encode(x)), its reconstruction error and that error's percentile among held-out data.

        With a `false_alarm_rate` (0.01 to 0.5) also a verdict: that share of samples like the held-out ones is unusual.
        """
        call = partial(self._client.reconstruct, self.name, fit=fit, white=white, false_alarm_rate=false_alarm_rate)
        parts = [self._wait(call(part)) for part in self._split(inputs)]
        if len(parts) == 1:
            return parts[0]
        verdicts = [part.unusual for part in parts if part.unusual is not None]
        ranks = [part.score_percentile for part in parts if part.score_percentile is not None]
        return Reconstruction(
            np.concatenate([np.asarray(part.output) for part in parts]),
            np.concatenate([part.error for part in parts]),
            np.concatenate([part.percentile for part in parts]),
            np.concatenate(verdicts) if verdicts else None,
            parts[0].score,
            np.concatenate(ranks) if ranks else None,
        )

    @overload
    def heatmap(self, inputs: Array, *, fit: str | None = None, white: float | None = None) -> NDArray[np.float32]: ...
    @overload
    def heatmap(
        self, inputs: Image | str, *, fit: str | None = None, white: float | None = None, media_type: str = "image/png"
    ) -> bytes: ...
    def heatmap(
        self,
        inputs: Array | Image | str,
        *,
        fit: str | None = None,
        white: float | None = None,
        media_type: str = "image/png",
    ) -> Array | bytes:
        """The squared difference between input and reconstruction of each pixel (in 0..1) or number, float32 [N,H,W] or
        [N,D]; of one image file a picture of its root, or the numbers as bytes of an .npy.
        """
        call = partial(self._client.heatmap, self.name, fit=fit, white=white)
        if isinstance(inputs, np.ndarray):
            return np.concatenate([self._wait(call(part)) for part in self._split(inputs)])
        (image,) = self._split(inputs)
        return self._wait(call(image, media_type=media_type))

    @overload
    def denoise(
        self,
        inputs: Array,
        *,
        strength: float = 1,
        fit: str | None = None,
        bits: int | None = None,
        white: float | None = None,
        figures: str | None = None,
    ) -> Array: ...
    @overload
    def denoise(
        self,
        inputs: Image | str,
        *,
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
        inputs: Array | Image | str,
        *,
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
        `on_dropped`: called with the names of what the file held and the result does not.
        """
        call = partial(
            self._client.denoise, self.name, strength=strength, fit=fit, bits=bits, white=white, figures=figures
        )
        if isinstance(inputs, np.ndarray):
            arrays = [self._wait(call(part)) for part in self._split(inputs)]
            return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        (image,) = self._split(inputs)
        return self._wait(call(image, dpi=dpi, media_type=media_type, on_dropped=on_dropped))

    def _split(self, inputs: Any, *, is_latent: bool = False) -> list[Any]:
        """The input in parts, each small enough for one request; a path as Path."""
        if isinstance(inputs, str | os.PathLike):
            return [Path(inputs)]
        if not isinstance(inputs, np.ndarray):
            return [inputs]
        port = self._model.latent if is_latent else self._model.sample
        fixed = () if port is None else tuple(axis for axis in port.shape[1:] if isinstance(axis, int))
        is_pair = (
            is_latent and port is not None and len(port.shape) == 2 and inputs.shape[1:2] == (2,) and inputs.ndim == 3
        )
        has_samples = port is not None and (
            is_pair
            or inputs.ndim == len(port.shape)
            or (inputs.ndim > 1 and inputs.shape[1:] == fixed[: inputs.ndim - 1])
        )
        if not has_samples or not len(inputs):
            return [inputs]
        size = min(MAX_REQUEST_SAMPLES, max(1, MAX_REQUEST_BYTES * len(inputs) // max(1, inputs.nbytes)))
        return [inputs[start : start + size] for start in range(0, len(inputs), size)]

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        if not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError(f"{self!r} is closed, or this process was forked: make a new one")
        future: Future[Result] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise


def _find_package(path: Path) -> tuple[Path, str]:
    """The models folder, and "<name>/<version>"; PackageError if there is no package."""
    path = path.absolute()
    if (path / MANIFEST).is_file():
        return path.parents[1], f"{path.parent.name}/{path.name}"
    store = open_store(path.parent)
    versions = {
        int(version): key
        for key in (store.list_packages() if path.is_dir() else [])
        for name, _, version in [key.partition("/")]
        if name == path.name and version.isdecimal()
    }
    if not versions:
        raise PackageError(f"{path} holds no package: name models/<name>, or models/<name>/<version>")
    return path.parent, versions[select_default(store.default_versions().get(path.name), versions)]
