"""The page of a model of vectors: tables dropped and pasted; rows, differences, and latents that are moved."""

import csv
import io
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import httpx2
import numpy as np
import pytest
from onnx import TensorProto, helper
from playwright.sync_api import Page

from service.model.manifest import Column
from tests.page.conftest import Server, Visit
from tests.page.test_page import DROP, file_argument, wait_until, wait_until_idle
from tests.service import packages as doubles

COUNT, KEPT = 24, 6
NAMES = [f"t{index}" for index in range(COUNT)]
PASTE_TEXT = """(text) => {
  const data = new DataTransfer();
  data.setData("text/plain", text);
  document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def waves(rows: int = 40) -> np.ndarray:
    generator, time = np.random.default_rng(0), np.linspace(0, 6, COUNT)
    curves = [a * np.sin(time + phase) + b * np.cos(2 * time) for a, b, phase in generator.normal(0, 1, (rows, 3))]
    return np.asarray(np.stack(curves) + generator.normal(0, 0.1, (rows, COUNT)))


def table(delimiter: str = ",") -> str:
    """The columns in reverse, and a column of words in front."""
    lines = [delimiter.join(["who", *NAMES[::-1]])]
    lines += [delimiter.join([f"wave {i}", *(f"{v:.4f}" for v in row[::-1])]) for i, row in enumerate(waves())]
    return "\n".join(lines) + "\n"


def write_waves(models: Path) -> None:
    """The principal components of `waves`, as a package."""
    data = waves()
    mean = data.mean(0)
    components = np.linalg.svd(data - mean, full_matrices=False)[2][:KEPT].astype(np.float32)
    vector, latent = ("vector", TensorProto.FLOAT, ["N", COUNT]), ("latent", TensorProto.FLOAT, ["N", KEPT])
    constants = {"mean": mean.astype(np.float32), "down": components.T.copy(), "up": components}
    n = helper.make_node
    encoder = doubles.graph(
        [n("Sub", ["vector", "mean"], ["c"]), n("MatMul", ["c", "down"], ["latent"])], vector, latent, constants
    )
    decoder = doubles.graph(
        [n("MatMul", ["latent", "up"], ["c"]), n("Add", ["c", "mean"], ["vector"])], latent, vector, constants
    )
    columns = tuple(
        Column(name=name, mean=float(m), deviation=float(d))
        for name, m, d in zip(NAMES, mean, data.std(0), strict=True)
    )
    doubles.write(models, "waves", {"encoder": encoder, "decoder": decoder}, columns=columns)


@pytest.fixture(scope="module")
def waves_address(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    write_waves(models)
    server = Server(MODELS=str(models))
    server.start()
    yield server.address
    server.stop()


@pytest.fixture
def visit_waves(window: Page, waves_address: str) -> Iterator[Visit]:
    visit = Visit(window, waves_address)
    yield visit
    visit.close()
    assert visit.complaints == []
    assert visit.external_requests == []


def reconstruct(address: str) -> list[dict[str, str]]:
    response = httpx2.post(
        f"{address}v1/models/waves/reconstruct", content=table().encode(), headers={"Content-Type": "text/csv"}
    )
    return list(csv.DictReader(io.StringIO(response.text)))


def test_a_dropped_table_is_shown_row_by_row(visit_waves: Visit) -> None:
    page = visit_waves("waves")
    assert "t0, t1, t2" in page.inner_text("#table-columns")
    page.evaluate(DROP, file_argument("waves.csv", "text/csv", table().encode()))
    page.wait_for_selector("#table-result:not([hidden])")
    truth = reconstruct(visit_waves.address)
    cells = page.inner_text("#rows tbody tr >> nth=7").split()
    assert cells[:3] == ["8", "wave", "7"]
    assert float(cells[3]) == pytest.approx(float(truth[7]["reconstruction_error"]), rel=0.01)
    page.check("#rows input >> nth=7")
    assert f"Row 8: error {float(truth[7]['reconstruction_error']):.3g}"[:16] in page.inner_text("#row-stats")
    assert "smaller is better" in page.inner_text("#row-stats")
    difference = {name: float(truth[7][name]) - float(f"{waves()[7][i]:.4f}") for i, name in enumerate(NAMES)}
    deviation = dict(zip(NAMES, waves().std(0), strict=True))
    largest = max(NAMES, key=lambda name: abs(difference[name]) / deviation[name])
    assert page.inner_text("#differences tbody th >> nth=0") == largest
    assert page.locator("#row-chart polyline").count() == 2
    line = page.inner_text("#curl")
    assert "--data-binary @waves.csv -H 'Content-Type: text/csv'" in line


def test_rows_of_a_spreadsheet_are_pasted(visit_waves: Visit) -> None:
    page = visit_waves("waves", language="ko")
    page.evaluate(PASTE_TEXT, table("\t"))
    page.wait_for_selector("#table-result:not([hidden])")
    assert page.inner_text("#rows-title") == "행 40개, 숫자 열 24개"


def test_a_moved_and_a_typed_number_make_another_row(visit_waves: Visit) -> None:
    page = visit_waves("waves")
    page.evaluate(PASTE_TEXT, table())
    page.wait_for_selector("#table-result:not([hidden])")
    page.check("#rows input >> nth=3")
    before = page.get_attribute("#row-chart polyline.row-output", "points")
    page.focus("#row-sliders .slider >> nth=1")
    page.keyboard.type("-1.5")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#row-stats').textContent.includes('you moved')")
    wait_until_idle(page)
    assert page.get_attribute("#row-sliders .slider >> nth=1", "aria-valuetext") == "-1.50"
    assert page.input_value("#row-sliders .slider-value >> nth=1") == "−1.50"
    assert page.evaluate("document.activeElement.className") == "slider"
    assert page.get_attribute("#row-chart polyline.row-output", "points") != before
    page.click("#reset-row")
    assert page.get_attribute("#row-chart polyline.row-output", "points") == before


def test_a_missing_column_is_named_and_a_picture_is_no_table(visit_waves: Visit) -> None:
    page = visit_waves("waves")
    page.evaluate(PASTE_TEXT, table().replace("t5", "x"))
    wait_until(page, "document.querySelector('#error-detail').textContent.includes(\"no column 't5'\")")
    visit_waves.excuse(422)
    page.evaluate(DROP, file_argument("a.png", "image/png", b"x"))
    wait_until(page, "document.querySelector('#error-message').textContent.includes('That is no table')")


def test_axe_finds_nothing_and_nothing_sticks_out(visit_waves: Visit) -> None:
    page = visit_waves("waves")
    page.evaluate(PASTE_TEXT, table())
    page.wait_for_selector("#table-result:not([hidden])")
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    for width, dark, language in ((1440, False, "en"), (390, True, "ko")):
        visit_waves.resize(width=width, dark=dark)
        if language != "en":
            page.click(f"#languages [lang={language}]")
        report = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in report["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
