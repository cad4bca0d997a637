import subprocess
from typing import Any

import pytest
import torch

from tests.drawings import build_small_recipe
from tests.training.export import packages
from training import __version__
from training.export.provenance import training_facts


def test_facts_name_recipe_data_and_versions() -> None:
    recipe = build_small_recipe("x", {"seed": 7})
    facts = training_facts(recipe, packages.split_dataset(packages.IMAGES))
    assert (facts.recipe, facts.recipe_sha256, facts.seed) == ("small", recipe.digest, 7)
    assert (facts.data.train, facts.data.validation, facts.data.test) == (60, 20, 20)
    assert facts.versions["torch"] == torch.__version__


def test_without_a_checkout_the_version_stands_for_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", fail)
    facts = training_facts(build_small_recipe("x"), packages.split_dataset(packages.IMAGES))
    assert facts.code_revision == __version__
