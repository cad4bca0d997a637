"""CSV and Parquet over /v1: by name, text carried along, negotiated, refused with a remedy."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.codecs.table_formats import parquet
from service.model.manifest import Column
from tests.service import packages as doubles
from tests.service.http import refused, served

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
NAMES = ("p", "q", "r", "s", "t", "u")
BODY = "time,u,t,s,r,q,p\n" + "".join(f'"12:0{row}",{row},5,4,3,2,1\n' for row in range(3))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """named (columns p to u), plain (without names), small (28x28)."""
    models = tmp_path_factory.mktemp("tables")
    columns = tuple(Column(name=name, mean=0, deviation=1) for name in NAMES)
    doubles.write(models, "named", doubles.vector_graphs(), columns=columns)
    doubles.write(models, "plain", doubles.vector_graphs())
    doubles.write(models, "small", doubles.image_graphs())
    with served(models, max_batch=100) as client:
        yield client


def send(client: TestClient, address: str, body: str | bytes = BODY, kind: str = CSV, **headers: str) -> Any:
    return client.post(f"/v1/models/{address}", content=body, headers={"Content-Type": kind, **headers})


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == CSV
    return list(csv.DictReader(io.StringIO(response.text)))


def test_a_table_is_encoded_decoded_and_reconstructed_by_its_names(tables: TestClient) -> None:
    latents = send(tables, "named/encode")
    rows = rows_of(latents)
    assert list(rows[0]) == ["time", *(f"latent_{number}" for number in range(1, 7))]
    assert [float(rows[2][f"latent_{number}"]) for number in range(1, 7)] == [2, 4, 6, 8, 10, 4]
    decoded = rows_of(send(tables, "named/decode", latents.content))
    assert decoded[2] == {"time": "12:02", "p": "1.0", "q": "2.0", "r": "3.0", "s": "4.0", "t": "5.0", "u": "2.0"}
    again = rows_of(send(tables, "named/reconstruct?false_alarm_rate=0.5"))
    assert list(again[0]) == [
        "time", *NAMES, "reconstruction_error", "percentile", "unusual", "score", "score_percentile",
    ]  # fmt: skip
    assert [row["time"] for row in again] == ["12:00", "12:01", "12:02"]
    assert again[0]["reconstruction_error"] == "0.0"


def test_a_table_is_answered_as_json_and_npy_and_those_as_a_table(tables: TestClient) -> None:
    document = send(tables, "named/reconstruct", Accept="application/json").json()
    assert document["columns"] == list(NAMES)
    assert document["carried"] == {"time": ["12:00", "12:01", "12:02"]}
    assert document["inputs"] == document["outputs"] == [[1, 2, 3, 4, 5, row] for row in range(3)]
    array = np.load(io.BytesIO(send(tables, "named/encode", Accept="application/x-npy").content))
    assert array.shape == (3, 6)
    response = tables.post("/v1/models/plain/encode", json={"inputs": [[1, 2, 3, 4, 5, 6]]}, headers={"Accept": CSV})
    assert rows_of(response)[0]["latent_6"] == "12.0"
    response = tables.post("/v1/models/plain/decode", json={"latents": [[2] * 6]}, headers={"Accept": CSV})
    assert rows_of(response) == [{f"column_{number}": "1.0" for number in range(1, 7)}]
    pixels = {"inputs": np.zeros((2, 28, 28), np.uint8).tolist()}
    assert len(rows_of(tables.post("/v1/models/small/encode", json=pixels, headers={"Accept": CSV}))) == 2
    top = rows_of(send(tables, "named/encode?top=2"))
    assert list(top[2]) == ["time", "index_1", "index_2", "value_1", "value_2"]
    assert (top[2]["index_1"], top[2]["value_1"]) == ("4", "10.0")


def test_latents_in_a_table_become_pictures(tables: TestClient) -> None:
    latents = tables.post(
        "/v1/models/small/encode", json={"inputs": np.full((1, 28, 28), 51).tolist()}, headers={"Accept": CSV}
    )
    decoded = send(tables, "small/decode", latents.content, Accept="image/png")
    assert decoded.headers["content-type"] == "image/png"
    assert send(tables, "small/decode", latents.content).json()["outputs"][0][0][0] == [51]


@pytest.mark.skipif(not parquet.IS_INSTALLED, reason="pyarrow is not installed")
def test_parquet_comes_and_goes_as_csv_does(tables: TestClient) -> None:
    sent = send(tables, "named/encode", Accept=PARQUET)
    assert sent.headers["content-type"] == PARQUET
    assert sent.content.startswith(b"PAR1")
    for kind in (PARQUET, "application/octet-stream", "application/x-parquet"):
        decoded = send(tables, "named/decode", sent.content, kind, Accept=CSV)
        assert rows_of(decoded)[2]["u"] == "2.0"
    assert send(tables, "named/decode", sent.content, PARQUET).headers["content-type"] == PARQUET
    refused(send(tables, "named/encode", sent.content[:-4] + b"PAR2", PARQUET), 422, "cannot be read as Parquet")
    refused(send(tables, "named/encode", sent.content, PARQUET), 422, "has no column 'p', 'q'")


def test_refusals(tables: TestClient) -> None:
    refused(send(tables, "named/encode", BODY.replace("q,p", "q,x")), 422, "has no column 'p'; named takes 'p', 'q'")
    refused(send(tables, "plain/encode", "1,2,3,4,5,6,7\n"), 422, "has 7 columns of numbers; plain takes 6")
    refused(send(tables, "named/encode", "p,q,r,s,t,u\n1,2,3,4,5,\n"), 422, 'line 2, column "u": "" is a gap')
    refused(send(tables, "plain/encode", "1,2,3,4,5,6\n" * 101), 413, "more than 100 rows")
    refused(send(tables, "named/encode", b""), 422, "is empty")
    document = refused(send(tables, "small/encode"), 415, "text/csv is not accepted")
    assert CSV not in document["accepted"]
    document = refused(send(tables, "named/encode", "x", "text/html"), 415, "accepted: application/json")
    assert {CSV, PARQUET} <= set(document["accepted"])


def test_what_windows_calls_a_csv_is_one(tables: TestClient) -> None:
    assert len(rows_of(send(tables, "named/encode", kind="application/vnd.ms-excel"))) == 3
    assert len(rows_of(send(tables, "named/encode", kind="text/csv; charset=utf-8; header=present"))) == 3


def test_a_large_table_is_weighed_before_it_is_read(tmp_path: Path) -> None:
    doubles.write(tmp_path, "plain", doubles.vector_graphs())
    body = "1,2,3,4,5,6\n" * 30_000
    with served(tmp_path, max_pixels=10_000, max_inside_pixels=100_000, max_batch=100_000) as client:
        refused(send(client, "plain/encode", body), 413, "0.2 M pixels or numbers")
