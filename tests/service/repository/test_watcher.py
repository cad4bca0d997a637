"""The watcher: packages that come, change and go while the service runs."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.repository.loader import PackageLoader
from service.repository.store import FolderStore
from service.repository.verifier import Verifier
from service.settings import Settings
from tests.service.signals import ROW, Live, until, write_signal


def test_a_new_version_is_served_when_it_has_stayed_the_same_for_two_looks(
    signal_models: Path, verifier: Verifier
) -> None:
    live = Live(signal_models, verifier)
    write_signal(signal_models, 2, times=3)
    live.poll(1)
    assert live.encoded() == 2
    live.poll(1)
    assert live.encoded() == 3
    assert live.registry.versions("signal") == (1, 2)
    assert live.encoded("1") == 2


def test_a_copy_that_is_not_complete_is_not_reported(signal_models: Path, verifier: Verifier, tmp_path: Path) -> None:
    complete_package = write_signal(tmp_path / "elsewhere", 2, times=3)
    live = Live(signal_models, verifier)
    target = signal_models / "signal" / "2"
    target.mkdir()
    for file in sorted(complete_package.iterdir()):  # one at each look, as a slow `cp -r` does
        shutil.copy(file, target)
        live.poll(1)
        assert live.registry.rejected_packages == ()
        assert live.encoded() == 2
    live.poll(1)
    assert live.encoded() == 3


def test_a_bad_version_changes_nothing_and_is_looked_at_again_when_it_changes(
    signal_models: Path, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(signal_models, verifier)
    directory = write_signal(signal_models, 2, times=3)
    good = (directory / "encoder.onnx").read_bytes()
    (directory / "encoder.onnx").write_bytes(good[:-1])
    live.poll(4)
    assert live.encoded() == 2
    (rejected_package,) = live.registry.rejected_packages
    assert rejected_package.key == "signal/2"
    assert "not the one that was exported" in rejected_package.reason
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1  # once, not at each look
    (directory / "encoder.onnx").write_bytes(good)
    live.poll()
    assert live.encoded() == 3
    assert live.registry.rejected_packages == ()


def test_a_version_that_is_spoilt_while_it_is_served_goes_on(signal_models: Path, verifier: Verifier) -> None:
    live = Live(signal_models, verifier)
    (signal_models / "signal" / "1" / "manifest.json").write_text("{")
    live.poll()
    assert live.encoded() == 2
    assert live.registry.rejected_packages[0].key == "signal/1"


def test_a_removed_version_is_not_found_and_its_requests_end_on_it(signal_models: Path) -> None:
    write_signal(signal_models, 2, times=3)
    live = Live(signal_models, None)
    model = live.registry.get("signal")
    shutil.rmtree(signal_models / "signal" / "2")
    live.poll()
    assert live.encoded() == 2
    assert model.encode(np.ones((1, 6), np.float32))[0, 0] == 3
    (signal_models / "signal" / "1").rename(signal_models / "signal" / ".1")
    live.poll()
    assert live.registry.names == ()


def test_a_models_folder_that_is_gone_changes_nothing(signal_models: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = Live(signal_models, None)
    signal_models.rename(signal_models.with_name("away"))
    live.poll(3)
    assert live.encoded() == 2
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


def test_a_file_default_pins_a_version(signal_models: Path) -> None:
    write_signal(signal_models, 2, times=3)
    live = Live(signal_models, None)
    default = signal_models / "signal" / "default"
    for text, answer, pinned, reported in (
        ("1\n", 2, True, ()),
        ("9", 3, False, ("signal/default says 9, which is not served; its highest, 2, is served",)),
        ("latest", 3, False, ("signal/default must hold one whole number, a version; its highest version is served",)),
        ("1", 2, True, ()),
    ):
        default.write_text(text)
        live.poll(1)
        assert (live.encoded(), live.registry.is_pinned("signal")) == (answer, pinned)
        assert tuple(rejected_package.reason for rejected_package in live.registry.rejected_packages) == reported
    write_signal(signal_models, 3, times=4)
    live.poll()
    assert live.encoded() == 2
    assert live.encoded("3") == 4
    default.unlink()
    live.poll(1)
    assert live.encoded() == 4


def test_the_running_service_swaps_versions_and_tells(signal_models: Path) -> None:
    with TestClient(create_app(Settings(models=signal_models, watch=0.05))) as client:

        def version() -> int:
            answer = client.post("/v1/models/signal/encode", json=ROW)
            assert answer.status_code == 200
            document = answer.json()
            assert document["latents"] == [[n * (document["version"] + 1) for n in ROW["inputs"][0]]]  # never mixed
            return int(document["version"])

        assert version() == 1
        write_signal(signal_models, 2, times=3)
        until(lambda: version() == 2)
        bad = write_signal(signal_models, 3, times=4)
        (bad / "golden.npz").write_bytes(b"")
        until(lambda: bool(client.get("/v1/models").json()["refused"]))
        assert version() == 2
        (signal_models / "signal" / "default").write_text("1")
        until(lambda: version() == 1)
        (summary,) = client.get("/v1/models").json()["models"]
        assert (summary["version"], summary["versions"], summary["pinned"]) == (1, [1, 2], True)
        facts = client.get("/v1/models/signal/versions/2").json()
        assert facts["providers"] == {"encoder": "cpu", "decoder": "cpu"}
        shutil.rmtree(signal_models / "signal" / "2")
        until(lambda: client.post("/v1/models/signal/versions/2/encode", json=ROW).status_code == 404)


def test_retired_models_leave_no_batcher_behind(signal_models: Path) -> None:
    write_signal(signal_models, 2, times=3)
    with TestClient(create_app(Settings(models=signal_models, watch=0.05))) as client:
        assert client.post("/v1/models/signal/encode", json=ROW).json()["version"] == 2
        inference = client.app.services.inference  # type: ignore[attr-defined]
        assert {model.manifest.version for model, _ in inference._batchers} == {2}
        shutil.rmtree(signal_models / "signal" / "2")
        until(lambda: not inference._batchers)


def test_a_provider_that_is_required_refuses_a_live_package_and_the_old_one_goes_on(signal_models: Path) -> None:
    live = Live(signal_models, None)
    live.watcher._loader = PackageLoader(FolderStore(signal_models), "cuda", required=True)
    write_signal(signal_models, 2, times=3)
    live.poll()
    assert live.encoded() == 2
    assert "provider cuda was asked for" in live.registry.rejected_packages[0].reason
