"""Mutants of a tiny package, one process each; `python -m tests.abuse.mutants` is the long run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from service.model import package
from service.repository.loader import PackageLoader
from service.repository.registry import RejectedPackage
from service.repository.store import FolderStore
from service.repository.verifier import VerificationFailed, Verifier
from tests.abuse import mutants

MIB = 2**20


def test_no_mutant_of_a_package_is_served(tmp_path: Path) -> None:
    good = mutants.write(tmp_path / "models", 1)
    verifier = Verifier(512 * MIB, 10)
    loader = PackageLoader(FolderStore(tmp_path / "models"), "cpu", verifier=verifier)
    generator = np.random.default_rng(1)
    assert not isinstance(loader.load(package.format_key(good)), RejectedPackage)
    refused: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for version in range(2, 62):
        spoilt = tmp_path / "models" / "signal" / str(version)
        kind = mutants.mutant(tmp_path / "elsewhere", tmp_path / "models", version, generator)
        kinds[kind] += 1
        outcome = loader.load(package.format_key(spoilt))
        if isinstance(outcome, RejectedPackage):
            refused[kind] += 1
            assert len(outcome.reason.splitlines()) == 1
        else:
            assert mutants.same_function(good, spoilt), kind
    assert not isinstance(loader.load(package.format_key(good)), RejectedPackage)  # the verifier is well
    verifier.close()
    for kind in ("flip", "cut", "fact", "allocates"):
        assert refused[kind] == kinds[kind] > 0
    assert refused["rewritten"] > kinds["rewritten"] / 2


def test_a_graph_that_loops_is_given_up_in_time(tmp_path: Path) -> None:
    directory = mutants.write(tmp_path, 1)
    (directory / "encoder.onnx").write_bytes(mutants._greedy("loops", 0).SerializeToString())
    mutants._digest_again(directory)
    verifier = Verifier(512 * MIB, 1)
    with pytest.raises(VerificationFailed, match="signal/1 took longer than 1 s"):
        verifier.verify(directory)
    verifier.close()


def test_a_graph_that_wants_all_memory_is_refused_by_the_limit(tmp_path: Path) -> None:
    directory = mutants.write(tmp_path, 1)
    (directory / "encoder.onnx").write_bytes(mutants._greedy("allocates", 33).SerializeToString())
    mutants._digest_again(directory)
    verifier = Verifier(512 * MIB, 20)
    with pytest.raises(VerificationFailed, match=r"signal/1 needs more memory .* 512 MiB"):
        verifier.verify(directory)
    verifier.close()
