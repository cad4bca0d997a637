"""Query parameters."""

from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.api.query import PARAMETERS, parse_query
from service.errors import InvalidInput
from service.inference.options import Options
from service.model.manifest import Operation
from tests.service.denoisers import denoise_url, pixels
from tests.service.http import picture, refused


@pytest.mark.parametrize("value", ["2.1", "-0.1", "nan", "much", "", "inf"])
def test_a_strength_out_of_range_is_refused(denoisers: TestClient, value: str) -> None:
    answer = denoisers.post(denoise_url("page", f"?strength={value}"), files={"image": picture(pixels(np.uint8, 3))})
    refused(answer, 422, f"strength is '{value}'; allowed are numbers from 0 to 2")


def test_strength_is_for_denoise_and_openapi_says_so(denoisers: TestClient) -> None:
    answer = denoisers.post("/v1/models/signal/encode?strength=0.5", json={"inputs": [1, 2, 3, 4, 5, 6]})
    refused(answer, 422, "strength is for denoise")
    refused(
        denoisers.post(denoise_url("page", "?size=3"), content=b""),
        422,
        "allowed are fit, strength, dpi, white, bits, figures and report",
    )
    paths = denoisers.get("/openapi.json").json()["paths"]
    names = {operation: [p["name"] for p in paths[f"/v1/models/{{name}}/{operation}"]["post"]["parameters"]]
             for operation in ("encode", "denoise")}  # fmt: skip
    assert names == {
        "encode": ["name", "fit", "white", "latents", "top", "Request-Deadline", "Accept"],
        "denoise": [
            "name",
            "fit",
            "strength",
            "dpi",
            "white",
            "bits",
            "figures",
            "report",
            "Request-Deadline",
            "Accept",
        ],
    }


def test_the_table_names_the_fields_of_options() -> None:
    assert set(PARAMETERS) == {field.name for field in fields(Options)}


@pytest.mark.parametrize("operation", get_args(Operation))
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_parsed_as_its_schema_says(name: str, operation: Operation) -> None:
    parameter = PARAMETERS[name]
    schema = parameter.schema
    values = schema.get("enum") or [schema["minimum"], schema["maximum"]]
    if not parameter.applies_to(operation):
        takers = " and ".join(parameter.operations)
        with pytest.raises(InvalidInput, match=f"{name} is for {takers}; {operation} has nothing to"):
            parse_query(f"{name}={values[0]}".encode(), operation)
        return
    for value in values:
        assert getattr(parse_query(f"{name}={value}".encode(), operation), name) == value
    for text in ("", "none", f"9{values[-1]}", f"-{values[-1]}"):
        with pytest.raises(InvalidInput, match=f"{name} is '{text}'; "):
            parse_query(f"{name}={text}".encode(), operation)


def test_a_whole_number_has_nine_digits_at_most() -> None:
    with pytest.raises(InvalidInput, match="allowed are whole numbers from 36 to 1200"):
        parse_query(b"dpi=00000120099", "denoise")
