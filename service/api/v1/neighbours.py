"""Wire format of POST /v1/models/<name>/neighbours: a sample in, the nearest of the package's index out.

sample -> encode -> latents -> Index.find -> JSON | CSV
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from starlette.responses import Response

from service.api.query import parse_parameters
from service.api.v1 import responses
from service.api.v1.format import V1Format
from service.api.v1.negotiation import choose
from service.codecs import images
from service.codecs.formats import CSV, JSON, PNG
from service.codecs.json_documents import json_writer
from service.codecs.table_formats import tables
from service.errors import InvalidInput, NotAcceptable, TooLarge
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.options import DEFAULT, Options
from service.inference.payload import Payload
from service.model.measures.neighbours import Index
from service.server import raw_response

COUNT = 8  # by default
MAX_COUNT = 100
MAX_PICTURES = 1000  # of one response; beyond, it has names alone
_PARAMETERS = ("fit", "white")  # of encode


def parse_neighbours_query(query: bytes) -> tuple[int, Options]:
    """`count`, 1 to MAX_COUNT, and the options of encode that decide how a picture is read; raises InvalidInput."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    counts = [text for name, text in pairs if name == "count"]
    count = COUNT
    if counts:
        if not counts[-1].isdecimal() or not 1 <= int(counts[-1][:9]) <= MAX_COUNT:
            raise InvalidInput(f"count is {counts[-1][:100]!r}; allowed are whole numbers from 1 to {MAX_COUNT}")
        count = int(counts[-1])
    others = [(name, text) for name, text in pairs if name != "count"]
    for name, _ in others:
        if name not in _PARAMETERS:
            raise InvalidInput(f"there is no parameter {name[:100]!r}; allowed are count, {' and '.join(_PARAMETERS)}")
    return count, parse_parameters(others, "encode", DEFAULT) if others else DEFAULT


@dataclass(slots=True)
class NeighboursFormat:
    """A service.api.wire_format.WireFormat around that of encode.

    Args:
        encode: of the same request.
        index: where the neighbours are.
        count: of neighbours for each sample.
        options, seconds: those of `encode`.
    """

    encode: V1Format
    index: Index
    count: int
    options: Options
    seconds: float | None
    _media_type: str = ""

    def parsing_cost(self, body: bytes) -> int:
        return self.encode.parsing_cost(body)

    def count_numbers(self, body: bytes) -> int:
        return self.encode.count_numbers(body)

    def parse(self, body: bytes) -> Payload:
        return self.encode.parse(body)

    def negotiate(self, payload: Payload, inputs: Batch | Images) -> None:  # noqa: ARG002
        limit = MAX_PICTURES * MAX_COUNT // 10
        if inputs.count * self.count > limit:
            raise TooLarge(f"{inputs.count} samples of {self.count} neighbours each are more than {limit}", limit=limit)
        media_type = choose(self.encode.accept, (JSON, CSV))
        if media_type is None:
            raise NotAcceptable(
                f"Accept: {self.encode.accept} cannot be served; neighbours are answered as {JSON} or {CSV}",
                offers=[JSON, CSV],
            )
        self._media_type = media_type

    def serialization_cost(self, result: Result) -> int:
        return len(result.samples) * (self.index.latents.size + self.count * 1000) * cost.NUMBER

    def serialize(self, result: Result) -> Response:
        rows, distances = self.index.find(np.asarray(result.samples), self.count)
        model = self.encode.model
        if self._media_type == CSV:
            body = _to_csv(self.index, rows, distances)
        else:
            pictures = self.index.pictures if rows.size <= MAX_PICTURES else None
            document = {
                "model": model.manifest.name,
                "version": model.manifest.version,
                "operation": "neighbours",
                "size": len(self.index.latents),
                "neighbours": [
                    [
                        describe_neighbour(self.index, int(row), float(distance), pictures)
                        for row, distance in zip(rows[place], distances[place], strict=True)
                    ]
                    for place in range(len(rows))
                ],
            }
            body = json_writer.write(document)
        return raw_response.RawResponse(body, self._media_type, responses.model_headers(model))


def describe_neighbour(index: Index, row: int, distance: float, pictures: Any) -> dict[str, Any]:
    """A neighbour's members in JSON."""
    facts: dict[str, Any] = {"row": row, "name": index.name(row), "distance": distance}
    if pictures is not None:
        facts["image"] = json_writer.Base64(images.encode(Picture(pictures[row]), PNG))
    return facts


def _to_csv(index: Index, rows: Any, distances: Any) -> bytes:
    count = rows.shape[1]
    names = [index.name(int(row)) for row in rows.ravel()]
    samples, ranks = np.repeat(np.arange(len(rows)), count), np.tile(np.arange(1, count + 1), len(rows))
    header = ["sample", "rank", "row", "name", "distance"]
    return tables.write_csv(header, [], [samples, ranks, rows.ravel(), names, distances.ravel()])
