"""SIGTERM, Ctrl-C, clients that leave, more work than can be done: by a real process."""

import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.abuse import bodies, crowds, endings, soaking
from benchmarks.abuse.serving import HOST, Client, Serving, serving

CONTENT_TYPE, DRAWING = bodies.seeds()["npy"]
SMALL = crowds.Request("/v1/models/small/encode", DRAWING, CONTENT_TYPE)
LONG = crowds.Request("/v1/models/whole/denoise", bodies.npy(np.zeros((1, 3000, 3000, 1), np.uint8)), CONTENT_TYPE)


@pytest.fixture(scope="module")
def slow_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of `models`, and whole: a convolutional denoiser that runs a page in one piece."""
    from tests.service import packages as doubles

    folder = doubles.write_all(tmp_path_factory.mktemp("slow-models"))
    facts = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    doubles.write(folder, "whole", doubles.convolutional_graphs(1), **facts)
    return folder


def test_no_request_is_lost_at_sigterm(models: Path) -> None:
    outcome = endings.sigterm([SMALL], rounds=1, drain=0.7, models=models, clients=4, before=0.3)
    assert not outcome.broken, outcome.row()
    assert "{200:" in outcome.found


def test_a_client_that_does_not_honour_readiness_is_lost_and_told(models: Path, tmp_path: Path) -> None:
    """The check itself: without a drain, somebody who goes on asking gets no answer."""
    with serving({"drain": 0}, models=models, logs=tmp_path) as served, Client(served.port) as client:
        balancer = endings.Balancer(served.port, [SMALL], 2)
        balancer._poll = lambda: None  # type: ignore[method-assign]
        threads = [threading.Thread(target=balancer._ask, args=(0,))]
        threads[0].start()
        assert endings.leave(served, 10)[1] == 0
        time.sleep(0.2)
        balancer._ready = False
        threads[0].join()
        assert balancer.lost
        assert client.try_to("GET", "/livez").status == 0


def test_while_it_drains_it_answers_but_is_not_ready_and_a_second_sigterm_ends_that(
    models: Path, tmp_path: Path
) -> None:
    with serving({"drain": 60}, models=models, logs=tmp_path) as served:
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with Client(served.port) as client:
            assert client.ask("GET", "/readyz").status == 503
            assert client.ask("GET", "/livez").status == 200
            assert SMALL.by(client).status == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0
        assert time.monotonic() - started < 40
        assert "stopping: not ready from now on" in served.said()
        assert "Traceback" not in served.said()


def test_ctrl_c_does_not_drain(models: Path, tmp_path: Path) -> None:
    with serving({"drain": 60}, models=models, logs=tmp_path) as served:
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(30) == 0


def asked(served: Serving) -> tuple[threading.Thread, list[int]]:
    """A long request, under way."""
    statuses: list[int] = []

    def ask() -> None:
        with Client(served.port) as client:
            while (status := LONG.by(client).status) == 429:  # a small one was inside
                pass
            statuses.append(status)

    thread = threading.Thread(target=ask)
    thread.start()
    full(served)
    assert not statuses, "it was no long request"
    return thread, statuses


def full(served: Serving) -> None:
    """Wait until the long request has the only place; what asks whether it has must not take it first."""
    time.sleep(0.3)
    with Client(served.port) as client:
        until = time.monotonic() + 20
        while SMALL.by(client).status != 429:
            assert time.monotonic() < until
            time.sleep(0.02)  # in which the place is free


def test_what_was_accepted_is_finished_unless_a_further_signal_drops_it(slow_models: Path, tmp_path: Path) -> None:
    with serving({"drain": 0, "max_requests": 1}, models=slow_models, logs=tmp_path) as served:
        thread, statuses = asked(served)
        served.process.send_signal(signal.SIGTERM)
        thread.join()
        assert statuses == [200]
        assert served.process.wait(30) == 0
    with serving({"drain": 0, "max_requests": 1}, models=slow_models, logs=tmp_path) as served:
        thread, statuses = asked(served)
        for _ in range(2):
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        thread.join()
        assert statuses == [0]
        assert served.process.wait(30) == 0
        assert "Traceback" not in served.said()


def test_the_work_of_who_left_is_dropped_without_a_word(slow_models: Path, tmp_path: Path) -> None:
    alone = {"max_requests": 1, "workers": 1, "log_requests": "off"}
    with serving(alone, models=slow_models, logs=tmp_path) as served:
        before = served.said()
        head = f"POST {LONG.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {LONG.content_type}\r\n"
        with socket.create_connection((HOST, served.port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(LONG.body)}\r\n\r\n".encode() + LONG.body)
            full(served)
        with Client(served.port) as client:
            until = time.monotonic() + 30
            while SMALL.by(client).status != 200 and time.monotonic() < until:
                time.sleep(0.05)
            assert SMALL.by(client).status == 200
        assert served.said() == before


def test_health_answers_and_only_429_is_refused_in_an_overload(models: Path, tmp_path: Path) -> None:
    page = crowds.Request("/v1/models/page/denoise", bodies.seeds(256)["jpeg"][1], "image/jpeg")
    with serving({"max_requests": 4}, models=models, logs=tmp_path) as served:
        load, health = crowds.Load(), crowds.Load()
        crowds._by_the_clock(served.port, page, 5 * crowds.capacity(served.port, page, 0.7), 1.5, load, health)
        statuses = {answer.status for _, answer in load.answers}
        assert statuses == {200, 429}
        assert {answer.status for _, answer in health.answers} == {200}


def test_a_planted_leak_is_found(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check that the service passes in benchmarks.abuse: here 150 KiB a request, there one."""
    kinds = [soaking.Kind("POST", SMALL.path, SMALL.body, SMALL.content_type, (200,))]
    kinds += [soaking.Kind("POST", SMALL.path, SMALL.body[:-1], SMALL.content_type, (400,))]
    kinds += [soaking.Kind("POST", SMALL.path, SMALL.body, SMALL.content_type, (), leaves=True)]
    monkeypatch.setenv("LEAK", str(150 << 10))
    with serving(module="benchmarks.abuse.leaking", models=models, logs=tmp_path) as served:
        outcome = soaking.soak(served, kinds, total=240, warm=30)
    assert [sentence[:7] for sentence in outcome.broken] == ["grew by"], outcome.row()


@pytest.fixture(scope="module")
def endless_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """signal, and endless, whose encoder never ends for a vector with a number above 1."""
    from tests.service import packages as doubles

    folder = doubles.write_all(tmp_path_factory.mktemp("endless-models"))
    doubles.write(folder, "endless", doubles.endless_graphs())
    return folder


def endless(value: int) -> crowds.Request:
    return crowds.Request("/v1/models/endless/encode", b'{"inputs": [%d, 0, 0, 0, 0, 0]}' % value, bodies.JSON)


def test_a_graph_without_end_is_stopped_at_its_deadline_and_the_process_ends(endless_models: Path) -> None:
    outcome = endings.stuck(endless(2), endless(1), endless_models, drain=0.5, deadline=1)
    assert not outcome.broken, outcome.row()
    assert "{504: 2}" in outcome.found


def test_threads_that_never_come_back_keep_the_process_no_longer_than_its_drain(
    endless_models: Path, tmp_path: Path
) -> None:
    settings = {"drain": 0.5, "workers": 1, "deadline": 1, "max_requests": 2}
    with serving(settings, module="tests.abuse.stuck", models=endless_models, logs=tmp_path) as served:
        with Client(served.port) as client:
            assert endless(2).by(client).status == 504
            assert endless(2).by(client).status == 504  # the express thread
            assert endless(1).by(client).status == 429  # the places of both are still occupied
            assert client.ask("GET", "/livez").status == 200
            assert client.ask("GET", "/readyz").status == 200
            time.sleep(11)
            assert client.ask("GET", "/readyz").status == 503
        seconds, code = endings.leave(served, 30)
        assert code == 0
        assert 0.5 <= seconds < 5
        assert "Traceback" not in served.said()


def test_a_second_sigterm_ends_a_process_whose_threads_hang_at_once(endless_models: Path, tmp_path: Path) -> None:
    settings = {"drain": 60, "workers": 1, "deadline": 60}
    with serving(settings, module="tests.abuse.stuck", models=endless_models, logs=tmp_path) as served:
        thread = endings._ask_later(served.port, endless(2))
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        seconds, code = endings.leave(served, 30)
        assert code == 0
        assert seconds < 4
        thread.join()
