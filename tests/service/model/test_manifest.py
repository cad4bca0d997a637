"""The schema of manifest.json."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.model.manifest import Manifest
from tests.service.packages import manifest


def facts() -> dict[str, Any]:
    return manifest("small", {"encoder": b"", "decoder": b""}).model_dump(mode="json")


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    assert Manifest.model_validate(facts()) == manifest("small", {"encoder": b"", "decoder": b""})


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1}, {"name": "../small"}, {"name": "Small"}, {"version": 0}, {"kind": "contractive"},
        {"operations": []}, {"halo": -1}, {"format": "autoencoder-package/2"}, {"evaluation": {}},
        {"training": None}, {"memory": [[2, 1], [1, 2]]}, {"memory": []}, {"overlap": "blended"},
        {"overlap": "hard", "halo": 4},
    ],
)  # fmt: skip
def test_unknown_keys_and_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({**facts(), **changes})
