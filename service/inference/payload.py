"""The input of a request, taken apart but not decoded: encoded images, arrays, or one PDF.

request body -> Payload (its parts, its format) -> inference

What a part means to a model (its shape, its pixels) is decided in service.inference.inputs. Nothing here is larger
than the request's body was.
"""

from typing import Literal, NamedTuple

from service.codecs.table_formats.tables import Table
from service.model.runtime import Array

PayloadFormat = Literal["image", "json", "npy", "pdf", "csv", "parquet"]


class PayloadPart(NamedTuple):
    """One encoded image or PDF (`data` is bytes), or one array of at least one sample; errors call it `label`."""

    data: bytes | Array
    label: str


class Payload(NamedTuple):
    """All parts, in the order of the request; the result is due in `format` unless the caller asks for another."""

    parts: tuple[PayloadPart, ...]
    format: PayloadFormat
    is_scaled: bool = False  # latents as a diffusion model takes them
    table: Table | None = None  # of which the part holds the numbers

    @property
    def images(self) -> tuple[PayloadPart, ...]:
        """The parts that are encoded images."""
        return tuple([part for part in self.parts if isinstance(part.data, bytes)])

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        size = 0
        for data, _ in self.parts:
            size += len(data) if isinstance(data, bytes) else data.nbytes
        return size
