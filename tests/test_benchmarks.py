import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from benchmarks import anomalies, digits_map, pages, pretraining
from benchmarks.reading import count_errors
from benchmarks.serving import floor
from benchmarks.serving.load import Wrk
from benchmarks.serving.report import table
from benchmarks.serving.rows import SPARSE, rows
from benchmarks.serving.servers import FLOOR, OTHERS, OURS, started
from service.app import create_app
from service.settings import Settings
from tests.drawings import drawings, waves
from training.data.datasets import Dataset

ENCODER = "encoder.onnx"


def test_errors_of_reading_are_edits_without_blanks() -> None:
    assert count_errors("the cat", "the cat") == (0, 6)
    assert count_errors("thecat", "the cat") == (0, 6)
    assert count_errors("tha cat", "the cat") == (1, 6)
    assert count_errors("", "cat") == (3, 3)
    assert count_errors("a cart!", "cat") == (3, 3)
    assert count_errors("kitten", "sitting")[0] == 3
    assert count_errors("sunday", "saturday")[0] == 3


def test_every_request_of_the_benchmark_is_answered_as_it_asks() -> None:
    with TestClient(create_app(Settings(models=Path("models")))) as client:
        for row in rows(lambda _package, _operation: ENCODER):
            if "megapixel" in row.name or SPARSE in row.name:
                continue  # seconds of work, and nothing new; a package that only the benchmark makes
            headers = {"Content-Type": row.load.content_type}
            if row.load.accept != "*/*":
                headers["Accept"] = row.load.accept
            answer = client.post(row.load.path, content=row.load.body, headers=headers)
            assert answer.status_code == 200, answer.text
            if "Accept" in headers:
                assert answer.headers["content-type"] == row.load.accept


def test_a_floor_is_a_rate_of_the_same_work() -> None:
    row = rows(lambda _package, _operation: ENCODER)[0]
    assert floor.rate(row, cores=1, seconds=0.05) > 10


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_servers_are_started_driven_and_stopped() -> None:
    row = rows(lambda _package, _operation: ENCODER)[0]
    for server in (OURS, FLOOR):
        with started(server, row.package / row.graph, row.load, 256) as running:
            outcome = Wrk(running.port, server.load(row.load), 2, 1).outcome()
            assert running.memory() > 10 << 20
        assert running.process.poll() is not None
        assert outcome.errors == 0
        assert outcome.rate > 10
        assert outcome.p50 <= outcome.p99


def test_a_server_that_does_not_answer_says_so() -> None:
    row = rows(lambda _package, _operation: ENCODER)[0]
    broken = type(FLOOR)("broken", ("-c", "raise SystemExit('no such thing')"))
    with (
        pytest.raises(RuntimeError, match=r"broken does not serve: .* no such thing"),
        started(broken, row.package / row.graph, row.load),
    ):
        pass


def test_who_takes_files_as_a_form_gets_a_form() -> None:
    row = rows(lambda _package, _operation: ENCODER)[0]
    form = next(server for server in OTHERS if server.form).load(row.load)
    assert form.content_type.startswith("multipart/form-data")
    assert row.load.body in form.body


def test_the_table_tells_rates_beside_ours() -> None:
    at = {"rate": 50.0, "p50": 0.01, "p99": 0.02, "errors": 0}
    servers = {"ours": {1: {**at, "rate": 100.0}}, "peer": {1: {**at, "errors": 3}}}
    text = table({"row": "a row", "work floor": 200.0, "servers": servers, "memory": {"peer": 1 << 30}})
    assert "a row   (work alone: 200.0/s)" in text
    assert "0.50    1024       3" in text


def test_the_study_of_pretraining_gives_later_seeds_the_better_rate_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, float, int]] = []

    def error(_: Dataset, __: str, ___: int, pretraining_: int, rate: float, seed: int) -> float:
        asked.append((pretraining_, rate, seed))
        return 8 - pretraining_ + 1000 * rate + seed

    images = drawings(10)[..., None]
    monkeypatch.setattr("training.data.datasets.load", lambda _: Dataset("drawn", "ours", images, images, images))
    monkeypatch.setattr(pretraining, "error", error)
    command = ["--passes", "3", "--units", "SiLU", "--out", str(tmp_path / "study.json")]
    assert pretraining.main([*command, "--seeds", "2"]) == 0
    slow, fast = sorted(pretraining.RATES)
    assert asked == [(0, slow, 0), (0, fast, 0), (0, slow, 1), (4, slow, 0), (4, fast, 0), (4, slow, 1)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| units | passes | not pretrained | pretrained, 4 passes a layer |"
    assert printed[2] == "| SiLU | 3 | 9.00 (8.50 to 9.50; rate 0.0005) | 5.00 (4.50 to 5.50; rate 0.0005) |"
    asked.clear()
    assert pretraining.main([*command, "--seeds", "3"]) == 0
    assert asked == [(0, slow, 2), (4, slow, 2)]


def test_digits_apart_agree_with_their_neighbours_and_digits_mixed_do_not() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    noise = np.random.default_rng(0).normal(size=(200, 2))
    apart = noise + 100 * labels[:, None]
    assert digits_map.agreement(apart, labels) == 1
    assert digits_map.agreement(noise, labels) < 0.3
    axes = digits_map.figure({"apart": apart, "mixed": noise}, labels).axes
    assert [len(axis.lines) for axis in axes] == [10, 10]


def test_every_method_finds_what_is_no_wave() -> None:
    normal = waves(300).astype(float)
    unusual = normal[250:] + np.random.default_rng(0).normal(0, 2, normal[250:].shape)
    found = {name: anomalies.against(score, normal[200:250], {"noise": unusual})
             for name, score in anomalies.learned(normal[:200], 10).items()}  # fmt: skip
    assert len(found) == 8
    assert {name: row["noise"] for name, row in found.items() if row["noise"] < 0.8} == {}
    assert "| autoencoder, raw | " in anomalies.table(found)


def test_dividing_by_energy_finds_small_samples_that_are_drawn_badly() -> None:
    raw, relative = anomalies.both("zeros", lambda x: x * [1.0, 0.9]).values()  # loses a part of the second number
    large, small = np.array([[10.0, 10.0]] * 5), np.array([[0.0, 1.0]] * 5)
    assert anomalies.against(raw, large, {"small": small}) == {"small": 0.0}
    assert anomalies.against(relative, large, {"small": small}) == {"small": 1.0}


def test_ink_of_pages_is_measured_by_precision_and_recall() -> None:
    truth = np.full((40, 40), 255, np.uint8)
    truth[10:20, 10:30] = 0
    half = truth.copy()
    half[10:15] = 255  # half of the ink is lost
    assert pages.measure_ink(truth, truth)["F"] == 100
    measured = pages.measure_ink(half, truth)
    assert (measured["precision"], measured["recall"]) == (100, 50)
    assert measured["PSNR"] == pytest.approx(-10 * np.log10(100 / 1600))
    assert pages.measure_psnr(truth, truth) == pages.IDENTICAL


def test_dividing_by_the_background_removes_a_shadow(tmp_path: Path) -> None:
    shadow = np.linspace(80, 240, 200).astype(np.uint8)
    sheet = np.broadcast_to(shadow, (200, 200)).copy()
    sheet[90:93, 20:180] //= 4
    Image.fromarray(sheet).save(tmp_path / "page.png")
    page = pages.Page("p", tmp_path / "page.png", "bin", "", None, "eng")
    quotient = pages.divide_by_background(page)
    assert quotient[:80].min() > 235
    assert quotient[91, 20:180].max() < 90


def test_words_and_fields_are_found_in_text() -> None:
    assert pages.measure_text("the cat", "the cat") == {"CER": 0, "words": 100}
    assert pages.measure_text("the", "the cat")["words"] == 50
    assert pages.measure_fields("SIA BVP  Total 0.66", {"name": "sia bvp", "total": "0.66", "date": "2022"}) == {
        "fields": pytest.approx(200 / 3)
    }
