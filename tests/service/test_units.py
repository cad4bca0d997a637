"""Admission, scheduler, negotiation, registry, providers, settings and the command line."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient
from starlette.types import Message

from service import settings
from service.api.v1.negotiation import choose
from service.app import create_app
from service.cli import tune
from service.cli.main import main
from service.errors import DeadlineExceeded, InvalidInput, ModelFailed, Overloaded, TooLarge, UnknownVersion
from service.inference.admission import Admission
from service.inference.engine import Inference, Result, Samples
from service.inference.options import Options
from service.inference.scheduler import Lane, Scheduler
from service.model import providers
from service.model.manifest import Operation
from service.model.package import read
from service.model.providers import ProviderMissing, usable_cores
from service.model.runtime import Model, Reconstruction
from service.repository.registry import open_all
from service.server.cancellation import Deadline, until_gone
from service.settings import Settings, SettingsError
from tests.service import packages as doubles

# --- admission -------------------------------------------------------------------------------------------


def test_a_full_house_is_refused_and_has_room_again_when_one_leaves() -> None:
    house = Admission(max_requests=1, max_pixels=100, max_bytes=100)
    with house.enter() as permit, house.enter() as slower:  # who is still sending holds no place
        permit.take()
        permit.weigh(60)
        with pytest.raises(Overloaded, match="1 requests are inside") as refusal, house.enter():
            pass
        with pytest.raises(Overloaded):
            slower.take()
        assert refusal.value.headers == {"Retry-After": "1"}
    with pytest.raises(TooLarge), house.enter() as permit:
        permit.weigh(101)
    assert (house.requests, house.pixels) == (0, 0)


def test_pixels_that_do_not_fit_now_are_429_and_those_that_never_will_413() -> None:
    house = Admission(max_requests=5, max_pixels=100, max_bytes=100)
    with house.enter() as first, house.enter() as second:
        first.weigh(60)
        with pytest.raises(Overloaded):
            second.weigh(60)
        with pytest.raises(TooLarge):
            second.weigh(101)


def test_bytes_that_do_not_fit_now_are_429_and_fit_when_others_left() -> None:
    house = Admission(max_requests=5, max_pixels=100, max_bytes=100)
    with house.enter() as first:
        first.hold(60)
        with pytest.raises(Overloaded, match="the bodies inside have 60 bytes, 100 fit"), house.enter() as second:
            second.hold(60)
        assert house.bytes == 60
    with house.enter() as third:
        third.hold(100)
    assert house.bytes == 0


def test_a_full_service_answers_429_with_retry_after_and_health_still_answers(models: Path) -> None:
    app = create_app(Settings(models=models, max_requests=1))
    with TestClient(app) as client, app.state.admission.enter() as permit:
        permit.take()
        response = client.post("/v1/models/signal/encode", json={"inputs": [1, 2, 3, 4, 5, 6]})
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
    assert app.state.admission.requests == 0


def test_a_body_over_the_limit_is_413(models: Path) -> None:
    with TestClient(create_app(Settings(models=models, max_body_bytes=2000))) as client:
        response = client.post("/v1/models/small/encode", content=b"0" * 3000, headers={"Content-Type": "image/png"})
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"
        assert "larger than 2000 bytes, which is the limit: it has 3000" in response.json()["detail"]

        def chunks() -> Iterator[bytes]:
            yield from [b"0" * 1500] * 2

        response = client.post("/v1/models/small/encode", content=chunks(), headers={"Content-Type": "image/png"})
        assert response.status_code == 413


# --- scheduler -------------------------------------------------------------------------------------------


def test_results_come_in_order_and_small_callers_pass_large_ones() -> None:
    finished: list[str] = []

    async def go() -> None:
        scheduler = Scheduler(1)

        async def caller(name: str, count: int) -> None:
            def work(item: int) -> int:
                time.sleep(0.002)
                return item * 2

            assert await scheduler.run(work, list(range(count))) == [2 * i for i in range(count)]
            finished.append(name)

        await asyncio.gather(caller("large", 60), caller("small", 1))
        assert await scheduler.run(str, []) == []
        scheduler.close()

    asyncio.run(go())
    assert finished == ["small", "large"]


def test_a_failing_item_fails_its_own_caller_only() -> None:
    async def go() -> tuple[Any, Any]:
        scheduler = Scheduler(2)

        def fail(item: int) -> int:
            raise ValueError(item)

        outcomes = await asyncio.gather(
            scheduler.run(fail, [1, 2, 3]), scheduler.run(str, [1, 2]), return_exceptions=True
        )
        scheduler.close()
        return outcomes

    failed, fine = asyncio.run(go())
    assert isinstance(failed, ValueError)
    assert fine == ["1", "2"]


def in_lane(lane: Lane[int, str], *items: int) -> list[Any]:
    async def go() -> list[Any]:
        return await asyncio.gather(*(lane.join(item, 1) for item in items), return_exceptions=True)

    return asyncio.run(go())


def test_what_arrives_together_is_one_run_and_each_gets_its_own() -> None:
    runs: list[list[int]] = []

    def work(items: list[int]) -> list[str]:
        runs.append(items)
        return [str(item) for item in items]

    lane = Lane(Scheduler(1), work, 8)
    assert in_lane(lane, 1, 2, 3) == ["1", "2", "3"]
    assert runs == [[1, 2, 3]]
    assert in_lane(lane, *range(20)) == [str(item) for item in range(20)]
    assert max(map(len, runs)) == 8
    assert sorted(item for run in runs[1:] for item in run) == list(range(20))


def test_who_fails_in_a_joined_run_fails_alone() -> None:
    def work(items: list[int]) -> list[str]:
        if 2 in items:
            raise ValueError("two")
        return [str(item) for item in items]

    one, two, three = in_lane(Lane(Scheduler(1), work, 8), 1, 2, 3)
    assert (one, three) == ("1", "3")
    assert isinstance(two, ValueError)


def test_a_short_run_is_done_on_the_loop_and_a_long_one_in_a_thread() -> None:
    threads: list[str] = []
    pause = 0.0

    def work(items: list[int]) -> list[str]:
        threads.append(threading.current_thread().name)
        until = time.thread_time() + pause
        while time.thread_time() < until:
            pass
        return [str(item) for item in items]

    lane = Lane(Scheduler(1), work, 8)
    for _ in range(3):
        in_lane(lane, 1)
    assert threads[0].startswith("run")  # not measured yet
    assert threads[1:] == ["MainThread"] * 2
    threads.clear()
    pause = 0.02
    for _ in range(100):  # it became slow: the lane learns that
        in_lane(lane, 1)
        if threads[-1].startswith("run"):
            break
    assert threads[-1].startswith("run")


def test_a_lane_shares_its_work_out_among_free_threads_and_drops_who_left() -> None:
    runs: list[list[int]] = []
    both = threading.Barrier(2, timeout=5)

    def work(items: list[int]) -> list[str]:
        runs.append(items)
        both.wait()  # passes only if two runs are under way
        return [str(item) for item in items]

    async def go() -> list[Any]:
        lane = Lane(Scheduler(2), work, 100)
        tasks = [asyncio.create_task(lane.join(item, 1)) for item in range(5)]
        await asyncio.sleep(0)
        tasks[4].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    *answers, left = asyncio.run(go())
    assert answers == ["0", "1", "2", "3"]
    assert isinstance(left, asyncio.CancelledError)
    assert sorted(item for run in runs for item in run) == [0, 1, 2, 3]


def test_a_lane_does_not_wait_for_large_items() -> None:
    gate = threading.Event()

    def wait(_: int) -> None:
        assert gate.wait(5)

    async def go() -> list[str]:
        scheduler = Scheduler(2)
        large = asyncio.create_task(scheduler.run(wait, list(range(4))))
        await asyncio.sleep(0)
        lane = Lane[int, str](scheduler, lambda items: [str(item) for item in items], 2)
        answers = await asyncio.wait_for(asyncio.gather(*(lane.join(item, 1) for item in range(5))), 5)
        assert not large.done()
        gate.set()
        await large
        scheduler.close()
        return answers

    assert asyncio.run(go()) == ["0", "1", "2", "3", "4"]


def test_a_thread_has_its_next_item_though_the_loop_is_busy() -> None:
    both = threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if len(done) == 2:
            both.set()

    async def go() -> None:
        scheduler = Scheduler(1)
        caller = asyncio.create_task(scheduler.run(work, [1, 2, 3]))
        await asyncio.sleep(0)
        assert both.wait(5)  # and meanwhile the loop does nothing at all
        await caller
        scheduler.close()

    asyncio.run(go())
    assert done == [1, 2, 3]


def test_an_item_ahead_whose_caller_has_left_is_dropped() -> None:
    gate = threading.Event()
    started = threading.Event()
    begun: list[int] = []

    def wait(item: int) -> None:
        begun.append(item)
        started.set()
        assert gate.wait(5)

    async def go() -> None:
        scheduler = Scheduler(1)
        caller = asyncio.create_task(scheduler.run(wait, [1, 2, 3]))
        assert await asyncio.to_thread(started.wait, 5)
        caller.cancel()
        await asyncio.wait([caller])
        gate.set()
        assert await scheduler.call(str, 4) == "4"
        assert scheduler.idle
        scheduler.close()

    asyncio.run(go())
    assert begun == [1]


def test_a_lane_off_the_loop_never_runs_on_it() -> None:
    threads: list[str] = []

    def work(items: list[int]) -> list[str]:
        threads.append(threading.current_thread().name)
        return [str(item) for item in items]

    lane = Lane(Scheduler(1), work, 8, on_loop=False)
    for _ in range(3):
        assert in_lane(lane, 1) == ["1"]
    assert all(thread.startswith("run") for thread in threads)


def test_the_scheduler_knows_when_it_is_idle() -> None:
    async def go() -> None:
        scheduler = Scheduler(2)
        seen = [scheduler.idle]
        task = asyncio.create_task(scheduler.call(time.sleep, 0.01))
        await asyncio.sleep(0)
        seen.append(scheduler.idle)
        await task
        seen.append(scheduler.idle)
        assert seen == [True, False, True]
        scheduler.close()

    asyncio.run(go())


# --- inference -------------------------------------------------------------------------------------------


def test_callers_that_are_joined_get_what_they_would_get_alone(models: Path) -> None:
    model = Model(read(models / "small" / "2"))
    batches = [np.random.default_rng(n).integers(0, 256, (n, 28, 28, 1), dtype=np.uint8) for n in (1, 3, 2)]

    async def go(operation: Operation) -> list[Result]:
        inference = Inference(Scheduler(2), 10_000, 100, 64)
        return await asyncio.gather(*(inference.run(model, operation, Samples(b), Options()) for b in batches))

    for batch, result in zip(batches, asyncio.run(go("encode")), strict=True):
        np.testing.assert_array_equal(result.samples, model.encode(batch))
    for batch, result in zip(batches, asyncio.run(go("reconstruct")), strict=True):
        alone: Reconstruction = model.reconstruct(batch)
        np.testing.assert_array_equal(result.samples, alone.output)
        assert result.error is not None
        assert result.percentile is not None
        np.testing.assert_allclose(result.error, alone.error)
        np.testing.assert_allclose(result.percentile, alone.percentile)


def test_a_wide_run_gives_what_a_narrow_one_gives(tmp_path: Path) -> None:
    package = read(doubles.write_denoisers(tmp_path) / "page" / "1")
    page = np.random.default_rng(0).integers(0, 256, (1, 33, 50, 1), dtype=np.uint8)
    np.testing.assert_array_equal(Model(package, "cpu", 2).denoise(page, wide=True), Model(package).denoise(page))


# --- lifetime --------------------------------------------------------------------------------------------


def test_a_deadline_is_504_and_can_be_extended() -> None:
    async def late(more: float) -> str:
        with Deadline(0.02) as deadline:
            deadline.extend(more)
            await asyncio.sleep(0.05)
        return "in time"

    with pytest.raises(DeadlineExceeded, match=r"not done after 0\.02 seconds, which is its deadline"):
        asyncio.run(late(0))
    assert asyncio.run(late(5)) == "in time"


def test_a_timeout_that_is_not_the_deadline_stays_what_it_is() -> None:
    async def go() -> None:
        with Deadline(5):
            raise TimeoutError("another one")

    with pytest.raises(TimeoutError, match="another one"):
        asyncio.run(go())


def test_who_hangs_up_is_noticed_and_a_cancellation_from_elsewhere_is_not_taken_for_it() -> None:
    async def go(hang_up: bool) -> None:
        async def receive() -> Message:
            if not hang_up:
                await asyncio.sleep(5)
            return {"type": "http.disconnect"}

        await until_gone(Request({"type": "http"}, receive), asyncio.sleep(5))

    with pytest.raises(ClientDisconnect):
        asyncio.run(go(hang_up=True))

    async def cancelled() -> None:
        task = asyncio.create_task(go(hang_up=False))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_items_of_a_caller_that_left_never_start() -> None:
    started: list[int] = []
    gate = threading.Event()

    def work(item: int) -> None:
        started.append(item)
        gate.wait(5)

    async def go() -> None:
        scheduler = Scheduler(1)
        task = asyncio.create_task(scheduler.run(work, list(range(50))))
        await asyncio.sleep(0)
        while not started:  # noqa: ASYNC110  (set by a thread)
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.set()
        assert await scheduler.call(str, 7) == "7"
        scheduler.close()

    asyncio.run(go())
    assert started == [0]


# --- negotiation -----------------------------------------------------------------------------------------

OFFERS = ("image/png", "image/jpeg", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("application/json, */*;q=0.5", "application/json"),
        ("image/*;q=0.2, application/json;q=0.1", "image/png"),
        ("image/png;q=0, */*", "image/jpeg"),
        ("text/html", None),
        ("text/html;q=x, IMAGE/JPEG", "image/jpeg"),
        ("nonsense", "image/png"),
    ],
)
def test_accept_chooses_among_the_offers(accept: str | None, chosen: str | None) -> None:
    assert choose(accept, OFFERS) == chosen


# --- registry, model, providers --------------------------------------------------------------------------


def test_a_bad_package_is_reported_and_the_others_are_served(tmp_path: Path) -> None:
    doubles.write(tmp_path, "good", doubles.vector_graphs())
    spoilt = doubles.write(tmp_path, "bad", doubles.vector_graphs())
    (spoilt / "encoder.onnx").write_bytes(b"x")
    (tmp_path / "README.md").write_text("not a package")
    (tmp_path / ".writing-x").mkdir()
    registry = open_all(tmp_path, "auto", required=False)
    assert registry.names == ("good",)
    assert registry.refused[0].folder == "bad/1"
    assert "not the one that was exported" in registry.refused[0].reason
    with pytest.raises(UnknownVersion):
        registry.get("good", "2")


def test_without_a_usable_model_the_service_is_alive_but_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(models=tmp_path))) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "models folder is empty" in response.json()["detail"]


def test_a_graph_that_onnxruntime_refuses_is_reported(tmp_path: Path) -> None:
    graphs = doubles.vector_graphs()
    graphs["encoder"].graph.node[0].op_type = "NoSuchOperator"
    doubles.write(tmp_path, "odd", graphs)
    registry = open_all(tmp_path, "auto", required=False)
    assert registry.names == ()
    assert "cannot be opened by onnxruntime" in registry.refused[0].reason


def test_a_model_checks_what_it_is_given(models: Path) -> None:
    model = Model(read(models / "signal" / "1"))
    with pytest.raises(InvalidInput, match="dtype is float64, vector wants float32"):
        model.encode(np.zeros((1, 6)))
    with pytest.raises(InvalidInput, match=r"shape is \[1, 5\], vector wants \[N, 6\]"):
        model.encode(np.zeros((1, 5), np.float32))
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        model.encode(np.full((1, 6), np.nan, np.float32))


def test_a_run_that_fails_says_which_model(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(read(models / "signal" / "1"))

    class Broken:
        def get_inputs(self) -> Any:
            raise RuntimeError("out of memory")

    model._sessions["encoder"] = Broken()
    with pytest.raises(ModelFailed, match="signal version 1 failed in its encoder"):
        model.encode(np.zeros((1, 6), np.float32))


def test_a_provider_that_is_not_here_falls_back_unless_it_is_required(models: Path) -> None:
    package = read(models / "signal" / "1")
    assert Model(package, "cuda").provider == "cpu"
    with pytest.raises(ProviderMissing, match="provider cuda was asked for and does not run here"):
        Model(package, "cuda", required=True)


def test_a_quantised_graph_runs_where_the_cpu_is_faster_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    (negative,) = doubles.denoiser_graphs(1).values()
    doubled = doubles.denoiser_graphs(1)["denoiser"]
    doubled.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(254, np.int32), "white"))
    opened = read(doubles.write(tmp_path, "small", {"denoiser": negative, "denoiser-int8": doubled}, **facts))
    image = np.full((1, 4, 4, 1), 10, np.uint8)
    for has, precision, runs, answer in (
        (True, "auto", "int8", 244), (False, "auto", "fp32", 245),
        (True, "fp32", "fp32", 245), (False, "int8", "int8", 244),
    ):  # fmt: skip
        monkeypatch.setattr("service.model.runtime.eight_bit_instructions", lambda has=has: has)
        model = Model(opened, precision=precision)  # type: ignore[arg-type]
        assert model.precision == runs
        assert (model.denoise(image) == answer).all()


def test_a_gpu_is_not_left_for_a_quantised_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    (whole,) = doubles.denoiser_graphs(1).values()
    opened = read(doubles.write(tmp_path, "small", {"denoiser": whole, "denoiser-int8": whole}, **facts))
    monkeypatch.setattr("service.model.runtime.obtained", lambda session: "cuda")
    for precision in ("auto", "int8"):
        model = Model(opened, precision=precision)
        assert (model.provider, model.precision) == ("cuda", "fp32")


def test_a_processor_says_whether_it_multiplies_eight_bit_numbers(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    for line, has in (("flags : fpu avx512_vnni", True), ("flags : fpu avx2", False), ("Features : fp asimddp", True)):
        listed.write_text(f"processor : 0\n{line}\nbugs : avx_vnni\n")
        assert providers.eight_bit_instructions(listed) is has
    assert not providers.eight_bit_instructions(tmp_path / "none")


def test_cores_follow_the_containers_quota(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert usable_cores(quota) == 1
    quota.write_text("max 100000\n")
    assert usable_cores(quota) == usable_cores(tmp_path / "none") >= 1
    assert providers.PROVIDERS["cpu"] == "CPUExecutionProvider"


# --- settings and command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("AUTOENCODER_PROT", "1", "AUTOENCODER_PROT is not a setting; did you mean AUTOENCODER_PORT?"),
        ("AUTOENCODER_1", "1", "AUTOENCODER_1 is not a setting"),
        ("AUTOENCODER_PORT", "70000", "AUTOENCODER_PORT=70000 is refused (port to listen on"),
        ("AUTOENCODER_MODELS", "/does/not/exist", "must be a folder that exists"),
        ("AUTOENCODER_MAX_INSIDE_PIXELS", "5", "must be at least that"),
        ("AUTOENCODER_MAX_INSIDE_BYTES", "5000", "or the largest body never fits"),
        ("AUTOENCODER_TILE", "63", "AUTOENCODER_TILE=63 is refused (pixels along a side of the tiles"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("AUTOENCODER_MODELS", str(models))
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError):
        settings.load()
    assert main(["models"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_models_are_listed_and_refusals_told(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--models", str(models)]) == 0
    assert "signal" in capsys.readouterr().out
    (doubles.write(tmp_path, "bad", doubles.vector_graphs()) / "manifest.json").unlink()
    assert main(["models", "--models", str(tmp_path)]) == 1
    assert "has no manifest.json" in capsys.readouterr().err


def test_a_port_in_use_is_one_line_and_exit_code_2(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--models", str(models), "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_the_real_process_serves_and_leaves_with_0_on_sigterm(models: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = next(word for word in first.split() if word.startswith("http"))
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
                    assert response.status == 200
                break
            except OSError:
                time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_every_setting_is_listed_with_what_is_in_force_and_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    settings.FILE.write_text("tile = 256\nport = 9\n")
    monkeypatch.setenv("AUTOENCODER_PORT", "10")
    assert main(["settings", "--host", "0.0.0.0", "--json"]) == 0
    knobs = {knob["name"]: knob for knob in json.loads(capsys.readouterr().out)}
    assert list(knobs) == list(Settings.model_fields)
    origins = {name: (knob["value"], knob["origin"]) for name, knob in knobs.items()}
    assert origins["host"] == ("0.0.0.0", "command line")
    assert origins["port"] == (10, "environment")
    assert origins["tile"] == (256, "autoencoder-service.toml")
    assert origins["drain"] == (5, "default")
    ranges = {name: knob["range"] for name, knob in knobs.items()}
    assert ranges["port"] == "0 to 65535"
    assert ranges["max_deadline"] == "above 0, up to 86400"
    assert ranges["precision"] == "auto | fp32 | int8"
    assert ranges["require_provider"] == "true | false"
    assert all(knob["description"] and knob["range"] for knob in knobs.values())
    assert main(["settings"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(knobs)
    tile = next(line for line in lines if line.startswith("AUTOENCODER_TILE"))
    assert tile.split()[:5] == ["AUTOENCODER_TILE", "tile", "256", "autoencoder-service.toml", "512"]
    assert tile.index("pixels along a side") == heading.index("meaning")


def test_who_has_read_enough_of_a_list_is_no_error(models: Path) -> None:
    command = [sys.executable, "-m", "service", "settings", "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_service_loads_no_torch(models: Path) -> None:
    script = (
        "import sys; from pathlib import Path; "
        "from service.app import create_app; from service.settings import Settings; "
        f"create_app(Settings(models=Path({str(models)!r}))); "
        "sys.exit(any(n in sys.modules for n in ('torch', 'training', 'matplotlib', 'sklearn', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- settings file, tuning -------------------------------------------------------------------------------


def test_the_settings_file_is_below_the_environment_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert settings.load().tile == 512
    settings.FILE.write_text("tile = 256\nport = 9\nmax_batch = 7\n")
    monkeypatch.setenv("AUTOENCODER_PORT", "10")
    chosen = settings.load(max_batch=8)
    assert (chosen.tile, chosen.port, chosen.max_batch) == (256, 10, 8)
    other = tmp_path / "other.toml"
    other.write_text("tile = 128\n")
    monkeypatch.setenv("AUTOENCODER_SETTINGS", str(other))
    assert settings.load().tile == 128


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tyle = 3", r"autoencoder-service\.toml: tyle is not a setting; did you mean tile\?"),
        ("tile = 3", r"autoencoder-service\.toml: tile = 3 is refused \(pixels along a side"),
        ('tile = "256"', r'tile = "256" is refused: it is text, not a whole number'),
        ("tile = true", r"tile = true is refused: it is true or false, not a whole number"),
        ("tile = 256.0", r"tile = 256\.0 is refused: it is a number, not a whole number"),
        ("require_provider = 1", r"require_provider = 1 is refused: it is a whole number, not true or false"),
        ("host = 2026-01-01", r'host = "2026-01-01" is refused: it is a date, not text'),
        ("[port]\nhttp = 80", r'port = \{"http": 80\} is refused: it is a table, not a whole number'),
        ("deadline = nan", r"deadline = nan is refused"),
        ("tile = [1]", r"tile = \[1\] is refused"),
        ("tile = ", r"the settings file autoencoder-service\.toml cannot be read"),
    ],
)
def test_a_wrong_settings_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    settings.FILE.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        settings.load()
    monkeypatch.setenv("AUTOENCODER_SETTINGS", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"AUTOENCODER_SETTINGS=nowhere\.toml does not exist"):
        settings.load()


def test_tune_measures_and_writes_what_serve_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "SIDE", 96)
    monkeypatch.setattr(tune, "TILES", (64, 96))
    (tmp_path / "models").mkdir()
    assert main(["tune"]) == 2
    assert "holds no model of images of any size" in capsys.readouterr().err
    doubles.write_denoisers(tmp_path / "models")
    settings.FILE.write_text('host = "0.0.0.0"\ntile = 4096\n')
    assert main(["tune"]) == 0
    written = settings.load()
    assert written.host == "0.0.0.0"  # what tune does not measure stays
    assert written.tile in (64, 96)
    assert f"best: workers = {written.workers}, tile = {written.tile}" in capsys.readouterr().out


def test_a_settings_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings.FILE.with_name(settings.FILE.name + ".part").mkdir()
    with pytest.raises(SettingsError, match="cannot be written"):
        settings.write_file({"tile": 256})
