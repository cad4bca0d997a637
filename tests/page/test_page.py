"""Everything that a user can do on the page, in a real Chromium, compared with the service's own responses."""

import base64
import io
import json
import re
import shlex
import subprocess
import time
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from service import errors
from tests.page.conftest import Visit
from training.evaluation import neighbours

DROP = """([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const target = document.querySelector("#stage");
  for (const kind of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
  }
}"""
PASTE = """([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def picture(kind: str = "PNG", height: int = 48, width: int = 64) -> bytes:
    """A noisy gradient with a dark line, grey."""
    pixels = (
        np.add.outer(np.arange(height), np.arange(width))
        + 100
        + np.random.default_rng(0).normal(0, 12, (height, width))
    )
    pixels[height // 2] = 20
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def file_argument(name: str, media_type: str, data: bytes) -> list[str]:
    return [name, media_type, base64.b64encode(data).decode()]


def download(page: Page, selector: str = "#download") -> bytes:
    with page.expect_download() as event:
        page.click(selector)
    return Path(event.value.path()).read_bytes()


def wait_for_result(page: Page) -> None:
    """Wait until the selected file has a result, and nothing is on its way."""
    page.wait_for_selector("#download:not([disabled])")
    page.wait_for_selector("#result:not(.is-working)")


def set_strength(page: Page, strength: float) -> None:
    page.evaluate("value => (document.getElementById('strength').value = value)", strength)
    page.dispatch_event("#strength", "input")
    page.dispatch_event("#strength", "change")


def read_pixels(data_url: str) -> np.ndarray:
    """A data: or PNG address of the page -> grey pixels [H,W]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data_url.split(",")[1]))).convert("L"))


def read_colours(page: Page, selector: str) -> np.ndarray:
    """The pixels [H,W,3] of an <img> of the page."""
    data_url = page.evaluate(
        """async (selector) => {
          const image = document.querySelector(selector);
          await image.decode();
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          canvas.getContext("2d").drawImage(image, 0, 0);
          return canvas.toDataURL("image/png");
        }""",
        selector,
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data_url.split(",")[1]))).convert("RGB"))


def href_of(page: Page, selector: str) -> str:
    return page.get_attribute(selector, "href") or ""


def wait_until(page: Page, expression: str, argument: object = None) -> None:
    """Wait for an expression. Playwright's own wait evaluates text inside the page, which its policy forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"{expression} did not come true"
        page.wait_for_timeout(30)


def wait_for_stats(page: Page, words: str) -> None:
    wait_until(page, "(words) => document.querySelector('#stats').textContent.includes(words)", words)


def wait_until_idle(page: Page) -> None:
    """Wait until every response is shown."""
    page.wait_for_selector("#stage[aria-busy=false]")


def post_json(address: str, path: str, **body: Any) -> Any:
    response = httpx2.post(f"{address}v1/models/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def to_pixels(sample: Any) -> np.ndarray:
    return np.array(sample, np.uint8)[:, :, 0]


# --- a file ----------------------------------------------------------------------------------------------


def test_a_dropped_picture_is_cleaned_and_compared_with_the_keyboard(visit: Visit) -> None:
    page = visit("pages")
    page.evaluate(DROP, file_argument("scan.png", "image/png", picture()))
    wait_for_result(page)
    response = httpx2.post(
        f"{visit.address}v1/models/pages/denoise", content=picture(), headers={"Content-Type": "image/png"}
    )
    assert download(page) == response.content
    assert page.evaluate("['before', 'after'].map((id) => document.getElementById(id).naturalWidth)") == [64, 64]
    facts = page.inner_text("#file-facts")
    assert "64 × 48" in facts
    assert " s" in facts
    page.focus("#compare")
    page.keyboard.press("End")
    assert page.evaluate("document.getElementById('frame').style.getPropertyValue('--at')") == "100%"
    assert page.get_attribute("#compare", "aria-valuetext") == "100% as it was"


def test_a_pasted_picture_is_cleaned(visit: Visit) -> None:
    page = visit("photos")
    page.evaluate(PASTE, file_argument("pasted.jpg", "image/jpeg", picture("JPEG")))
    wait_for_result(page)
    assert Image.open(io.BytesIO(download(page))).format == "JPEG"


def test_the_curl_line_does_what_was_done(visit: Visit, tmp_path: Path) -> None:
    page = visit("pages")
    name = 'my scan\'s, "1";.png'
    (tmp_path / name).write_bytes(picture())
    page.set_input_files("#file-input", tmp_path / name)
    wait_for_result(page)
    full = download(page)
    set_strength(page, 0.5)
    half = download(page)
    assert half != full
    page.click("#copy")
    line = page.evaluate("navigator.clipboard.readText()")
    assert line == page.inner_text("#curl")
    subprocess.run(["bash", "-c", line.replace("curl ", "curl -sS ", 1)], cwd=tmp_path, check=True)
    assert (tmp_path / shlex.split(line)[-1]).read_bytes() == half


def test_a_refusal_is_shown_in_the_service_s_words(visit: Visit) -> None:
    page = visit("pages", language="ko")
    page.set_input_files("#file-input", {"name": "bad.png", "mimeType": "image/png", "buffer": b"nonsense"})
    page.wait_for_selector("#error:not([hidden])")
    response = httpx2.post(
        f"{visit.address}v1/models/pages/denoise", content=b"nonsense", headers={"Content-Type": "image/png"}
    )
    assert page.inner_text("#error-detail") == response.json()["detail"].replace("image is", "the file is")
    assert page.inner_text("#error-message").startswith("읽을 수 없는 형식입니다.")
    assert "처리하지 못했습니다" in page.inner_text("#error")


def test_a_phone_may_take_a_photo(visit: Visit, browser: Browser) -> None:
    with browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800}) as phone:
        page = phone.new_page()
        page.goto(f"{visit.address}#pages")
        page.wait_for_selector("label.photo")
        assert page.get_attribute("#photo-input", "capture") == "environment"
        page.set_input_files("#photo-input", {"name": "image.jpg", "mimeType": "image/jpeg", "buffer": picture("JPEG")})
        wait_for_result(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


# --- drawings --------------------------------------------------------------------------------------------


def test_a_drawing_is_encoded_and_reconstructed_as_it_is_drawn(visit: Visit) -> None:
    page = visit("cats-convolutional")
    wait_for_stats(page, "Error")
    page.click("#clear")
    page.wait_for_selector("#output-hint:not([hidden])")
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 80, steps=4)
    page.mouse.move(box["x"] + 120, box["y"] + 200, steps=4)
    page.mouse.up()
    wait_for_stats(page, "Error")
    wait_until_idle(page)
    drawing = read_pixels(href_of(page, "#save-drawing"))
    assert drawing.shape == (28, 28)
    assert drawing.max() == 255
    inputs = [drawing[:, :, None].tolist()]
    truth = post_json(visit.address, "cats-convolutional/reconstruct", inputs=inputs)
    assert (read_pixels(href_of(page, "#save-output")) == to_pixels(truth["outputs"][0])).all()
    assert f"{truth['reconstruction_error'][0]:.4f}" in page.inner_text("#stats")
    latents = post_json(visit.address, "cats-convolutional/encode", inputs=inputs)["latents"][0]
    displayed = page.eval_on_selector_all(
        "#sliders .slider", "(sliders) => sliders.map((slider) => Number(slider.getAttribute('aria-valuetext')))"
    )
    assert displayed == pytest.approx(latents, abs=0.006)
    page.click("#undo")
    page.wait_for_selector("#output-hint:not([hidden])")


def test_a_drawing_is_made_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit("cats-stacked")
    wait_for_stats(page, "Error")
    page.focus("#clear")
    page.keyboard.press("Enter")
    page.wait_for_selector("#output-hint:not([hidden])")
    page.focus("#pad")
    for key in ("Space", *["ArrowRight"] * 6, "Shift+ArrowDown", "Space", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.inner_text("#pen-status") == "pen up"
    wait_for_stats(page, "Error")
    wait_until_idle(page)
    drawing = read_pixels(href_of(page, "#save-drawing"))
    assert (drawing[13:15, 14:20] > 200).all()
    assert (drawing[15:18, 19:21] > 200).all()
    assert not drawing[:, :12].any()


def test_moved_numbers_are_decoded(visit: Visit) -> None:
    page = visit("cats-undercomplete")
    wait_for_stats(page, "Error")
    before = href_of(page, "#save-output")
    page.focus("#sliders .slider >> nth=8")
    page.keyboard.press("PageUp")
    wait_for_stats(page, "You moved the numbers")
    wait_until_idle(page)
    assert page.inner_text("#output-title") == "Drawn from the numbers"
    line = shlex.split(page.inner_text("#curl"))
    question = json.loads(line[line.index("-d") + 1])
    truth = post_json(visit.address, "cats-undercomplete/decode", **question)
    assert (read_pixels(href_of(page, "#save-output")) == to_pixels(truth["outputs"][0])).all()
    assert href_of(page, "#save-output") != before
    page.click("#reset-latent")
    wait_for_stats(page, "Error")
    assert href_of(page, "#save-output") == before


def test_a_number_is_typed_into_its_bar(visit: Visit) -> None:
    page = visit("cats-undercomplete")
    wait_for_stats(page, "Error")
    wait_until_idle(page)
    page.fill("#sliders .slider-value >> nth=5", "1,25")
    page.keyboard.press("Enter")
    wait_for_stats(page, "You moved the numbers")
    wait_until_idle(page)
    line = shlex.split(page.inner_text("#curl"))
    assert json.loads(line[line.index("-d") + 1])["latents"][0][5] == 1.25
    page.fill("#sliders .slider-value >> nth=5", "no number")
    page.keyboard.press("Enter")
    assert page.input_value("#sliders .slider-value >> nth=5") == "1.25"
    page.focus("#sliders .slider >> nth=2")
    page.keyboard.type("-99")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    assert page.get_attribute("#sliders .slider >> nth=2", "aria-valuetext") == "-99.00"  # the scale grows


def test_digits_open_with_digits_and_cats_with_cats(visit: Visit) -> None:
    page = visit("digits-deep")
    wait_for_stats(page, "Error")
    wait_until_idle(page)
    facts = httpx2.get(f"{visit.address}v1/models/digits-deep/versions/1/examples").json()
    assert page.locator("#samples button").count() == len(facts["inputs"]) == 12
    page.click("#samples button >> nth=1")
    wait_until_idle(page)
    truth = post_json(visit.address, "digits-deep/reconstruct", inputs=facts["inputs"][1:2])
    assert (read_pixels(href_of(page, "#save-output")) == to_pixels(truth["outputs"][0])).all()
    page.click("#models .tile:has(input[value=cats-convolutional])")
    wait_for_stats(page, "Error")
    wait_until_idle(page)
    page.click("#clear")  # what was chosen stays, else
    page = visit("cats-stacked")
    page.click("#models .tile:has(input[value=digits-deep])")
    wait_until(page, "document.querySelectorAll('#samples button').length === 12")
    wait_until_idle(page)
    digit = page.evaluate("document.getElementById('interpolation-output').toDataURL()")
    assert read_pixels(digit).max() > 200


def test_the_nearest_drawings_are_shown_under_the_one_that_is_drawn(visit: Visit) -> None:
    page = visit("cats-convolutional")
    wait_until(page, "document.querySelectorAll('#nearest button').length === 8")
    facts = httpx2.get(f"{visit.address}v1/models/cats-convolutional/versions/1/examples").json()
    truth = post_json(visit.address, "cats-convolutional/neighbours", inputs=facts["inputs"][:1])["neighbours"][0]
    assert page.get_attribute("#nearest img >> nth=2", "src") == f"data:image/png;base64,{truth[2]['image']}"
    assert f"distance {truth[2]['distance']:.3g}" in (
        page.get_attribute("#nearest button >> nth=2", "aria-label") or ""
    )
    first = page.get_attribute("#nearest img >> nth=1", "src")
    page.click("#nearest button >> nth=1")
    wait_until(page, "(first) => document.querySelector('#nearest img').getAttribute('src') === first", first)
    page.click("#clear")
    wait_until(page, "document.querySelector('#nearest').hidden")
    assert visit("cats-stacked").is_hidden("#nearest")


def test_the_result_is_seen_without_scrolling(visit: Visit) -> None:
    page = visit("cats-convolutional")
    page.set_viewport_size({"width": 1440, "height": 900})
    wait_for_stats(page, "Error")
    for element in ("#pad", "#sliders", "#output", "#stats"):
        assert page.evaluate(
            "(id) => document.querySelector(id).getBoundingClientRect().bottom <= innerHeight", element
        )


def test_a_picture_that_is_fitted_lies_on_the_colour_of_its_border(visit: Visit) -> None:
    page = visit("cats-stacked")
    pixels = page.evaluate("""async () => {
      const { fitImage } = await import('/page/pixels.js');
      const source = new OffscreenCanvas(40, 20);
      const context = source.getContext('2d');
      context.fillStyle = 'rgb(10 200 30)';
      context.fillRect(0, 0, 40, 20);
      context.fillStyle = '#fff';
      context.fillRect(10, 5, 20, 10);
      const bitmap = await createImageBitmap(await fitImage(source, 8, 8, 'contain'));
      const canvas = new OffscreenCanvas(8, 8);
      canvas.getContext('2d').drawImage(bitmap, 0, 0);
      return Array.from(canvas.getContext('2d').getImageData(0, 0, 8, 8).data);
    }""")
    image = np.array(pixels).reshape(8, 8, 4)
    assert (image[0] == [10, 200, 30, 255]).all()
    assert (image[7] == [10, 200, 30, 255]).all()
    assert (image[4, 4, :3] > [150, 230, 150]).all()


def test_a_package_brings_its_own_translations(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    translate = """async () => {
      const module = await import('/page/translations.js');
      module.setPackageTranslations({ko: {"learning_curve.png": "배움의 곡선", "My model": "내 모델"}});
      const texts = ["learning_curve.png", "My model", "other"]
        .map((text) => [module.translateName(text), module.isTranslated(text)]);
      module.setPackageTranslations({});
      return texts;
    }"""
    assert page.evaluate(translate) == [["배움의 곡선", True], ["내 모델", True], ["other", False]]
    descriptions = [model["description"] for model in httpx2.get(f"{visit.address}v1/models").json()["models"]]
    script = "(texts) => import('/page/translations.js').then((m) => texts.filter((text) => !m.isTranslated(text)))"
    assert page.evaluate(script, descriptions) == []


def test_the_words_in_figures_are_in_the_language_of_the_page(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    figure = page.locator("#card-pictures .main img")
    figure.scroll_into_view_if_needed()
    address = f"{visit.address}v1/models/cats-stacked/versions/1/files"
    original = np.asarray(Image.open(io.BytesIO(httpx2.get(f"{address}/reconstructions.png").content)).convert("RGB"))
    wait_until(page, "document.querySelector('#card-pictures .main img').src.startsWith('blob:')")
    link = page.get_attribute("#card-pictures .main a", "href")
    assert link == figure.get_attribute("src")  # what opens is in the same language
    shown = read_colours(page, "#card-pictures .main img")
    assert shown.shape == original.shape
    differs = (shown != original).any(2)
    labels = httpx2.get(address).json()["labels"]["reconstructions.png"]
    for label in labels:
        box = slice(label["top"] - 1, label["bottom"] + 1), slice(label["left"] - 1, label["right"] + 1)
        assert differs[box].any()
        assert shown[box].min() < 128  # there are words, in the colour of the others
        differs[box[0], :130] = False  # longer words begin farther to the left
    assert not differs.any()  # the samples are as they were
    page.click("#languages [lang=en]")
    page.wait_for_selector("#card-pictures .main img[src$='reconstructions.png']")


NAMES = ("Alan Diggs", "Malene Thyssen", "ibm-max-city", "ibm-max-7-action-athlete-896567")
"""Of photographs and their authors, in the figures of `photos`."""


def test_korean_has_the_words_of_all_figures(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    words = {
        label["text"]
        for model in httpx2.get(f"{visit.address}v1/models").json()["models"]
        for labels in httpx2.get(f"{visit.address}v1/models/{model['name']}/versions/{model['version']}/files")
        .json()["labels"]
        .values()
        for label in labels
    }
    assert {"original", "epoch", "506 held-out samples", "PCA 32, clamped 0.04842"} < words
    script = "(texts) => import('/page/translations.js').then((m) => texts.map((text) => m.translateLabel(text)))"
    numbered = {"pretraining, layer 2", "12 held-out samples", "mean 1.5e-05", "PCA 8, clamped 0.0169"}
    texts = sorted(words | numbered | {*NAMES, "class 3"})
    translations = dict(zip(texts, page.evaluate(script, texts), strict=True))
    same = {text for text, translation in translations.items() if text == translation}
    assert {text for text in same if not text.startswith("PCA ")} == {*NAMES, "class 3"}  # names stay
    assert translations["mean 1.5e-05"] == "평균 1.5e-05"
    assert translations["PCA 8, clamped 0.0169"] == "PCA 8, 범위 제한 0.0169"
    assert translations["506 held-out samples"] == "시험용 표본 506개"


def test_what_training_measures_on_own_data_has_korean_words(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    texts = [
        neighbours.METRIC.replace("_", " "), neighbours.UNIT, "largest class", "the samples themselves",
        "mean squared error, in standard deviations", "PCA 5, clamped", "of 8 numbers of the latent", "of 64, a sample",
        "share of features, in 120 samples", "nats, from 500 test samples", "denoising MSE masking 0.25",
        "Stacked autoencoder of shapes.", "Undercomplete autoencoder of $& 2.csv.",
    ]  # fmt: skip
    script = """(texts) => import('/page/translations.js').then((m) =>
      texts.map((text) => [m.translateName(text), m.isTranslated(text)]))"""
    for text, (translation, is_translated) in zip(texts, page.evaluate(script, texts), strict=True):
        assert is_translated, text
        assert re.search("[가-힣]", translation), text
        assert "{" not in translation
    assert page.evaluate(script, texts[-2:])[1][0] == "$& 2.csv의 과소완전 오토인코더입니다."
    names = ["noisy", "error", "samples", "clean", "pages"]
    script = """(names) => import('/page/translations.js').then((m) =>
      names.map((name) => [m.translateModelName(name), m.translateClass(name)]))"""
    assert page.evaluate(script, names) == [*([name, name] for name in names[:-1]), ["스캔 문서", "pages"]]  # theirs


def test_errors_say_in_which_direction_they_are_better(visit: Visit) -> None:
    page = visit("cats-convolutional", language="ko")
    assert "작을수록 좋음" in page.inner_text("#card-tables")
    assert "클수록 좋음" in page.inner_text("#card-tables")
    wait_for_stats(page, "작을수록 좋음")


def test_a_new_cat_is_drawn(visit: Visit) -> None:
    page = visit("cats-variational")
    wait_for_stats(page, "Error")
    assert page.inner_text("#draw-new") == "Draw me a cat"
    before = href_of(page, "#save-output")
    page.click("#draw-new")
    wait_for_stats(page, "Nobody has drawn this one")
    wait_until_idle(page)
    line = shlex.split(page.inner_text("#curl"))
    assert line[:4] == ["curl", "--fail-with-body", "-X", "POST"]  # it writes a file
    assert "sample?count=16&seed=" in line[4]
    truth = httpx2.post(line[4], headers={"Accept": "application/json"}).json()
    drawn = href_of(page, "#save-output")
    assert (read_pixels(drawn) == to_pixels(truth["outputs"][0])).all()
    assert str(truth["seed"]) in page.inner_text("#stats")
    page.click("#draw-new")
    wait_until(page, f"document.querySelector('#save-output').href !== {json.dumps(drawn)}")
    page.click("#reset-latent")
    wait_for_stats(page, "Error")
    assert href_of(page, "#save-output") == before
    page = visit("cats-variational", language="ko")
    assert page.inner_text("#draw-new") == "고양이 그려 줘"
    assert visit("cats-stacked").is_hidden("#draw-new")


def test_a_walk_leads_from_one_drawing_to_another(visit: Visit) -> None:
    page = visit("cats-convolutional")
    wait_for_stats(page, "Error")
    page.click("#samples button >> nth=3")
    wait_until(page, "document.querySelectorAll('#interpolation-thumbnails canvas.is-current').length === 1")
    page.click("#use-as-start")
    wait_until(page, "Number(document.getElementById('interpolation-position').value) === 0")
    wait_until_idle(page)
    start = read_pixels(page.evaluate("document.getElementById('interpolation-output').toDataURL()"))
    reconstruction = read_pixels(href_of(page, "#save-output"))
    assert (start == reconstruction).all()  # the interpolation starts at the drawing's own reconstruction
    page.focus("#interpolation-position")
    page.keyboard.press("End")
    end = read_pixels(page.evaluate("document.getElementById('interpolation-output').toDataURL()"))
    page.click("#samples button >> nth=2")
    wait_until_idle(page)
    assert (end == read_pixels(href_of(page, "#save-output"))).all()
    page.focus("#interpolation-position")
    page.keyboard.press("Home")
    for _ in range(16):
        page.keyboard.press("ArrowRight")
    assert page.get_attribute("#interpolation-position", "aria-valuetext") == "50% of the way"
    middle = read_pixels(page.evaluate("document.getElementById('interpolation-output').toDataURL()"))
    assert (middle != start).any()
    assert (middle != end).any()


def test_noise_is_added_and_taken_away(visit: Visit) -> None:
    page = visit("cats-denoising")
    wait_for_stats(page, "denoised")
    noisy = read_pixels(href_of(page, "#save-drawing"))
    truth = post_json(visit.address, "cats-denoising/denoise", inputs=[noisy[:, :, None].tolist()])
    assert (read_pixels(href_of(page, "#save-output")) == to_pixels(truth["outputs"][0])).all()
    errors = [float(word) for word in page.inner_text("#stats").replace(",", "").split() if word.startswith("0.")]
    assert errors[1] < errors[0] / 2
    page.focus("#sigma")
    page.keyboard.press("Home")
    wait_for_stats(page, "0.0000 with noise")
    page.keyboard.press("End")
    page.click("#new-noise")
    wait_until_idle(page)
    assert page.inner_text("#sigma-value") == "σ\u00a0=\u00a00.60"


def test_an_image_becomes_the_drawing(visit: Visit) -> None:
    page = visit("cats-stacked")
    wait_for_stats(page, "Error")
    paper = np.full((56, 112), 250, np.uint8)
    paper[20:36, 40:72] = 10  # ink on paper
    buffer = io.BytesIO()
    Image.fromarray(paper).save(buffer, "PNG")
    page.evaluate(DROP, file_argument("paper.png", "image/png", buffer.getvalue()))
    wait_until(page, "(old) => document.getElementById('save-drawing').href !== old", href_of(page, "#save-drawing"))
    drawing = read_pixels(href_of(page, "#save-drawing"))
    assert drawing[:6].max() <= 10
    assert drawing[12:15, 11:17].min() > 200


# --- cards, languages, accessibility ---------------------------------------------------------------------


def test_the_card_tells_what_the_service_tells(visit: Visit) -> None:
    page = visit("pages")
    facts = httpx2.get(f"{visit.address}v1/models/pages").json()
    assert facts["description"] == page.inner_text("#model-description")
    table = page.inner_text("#card-tables")
    for metric in facts["evaluation"].values():
        assert f"{metric['value']:#.4g}" in table
    assert facts["training"]["data"]["licence"][:60] in page.inner_text("#card-facts")
    page.locator("#card-pictures figure img").first.scroll_into_view_if_needed()
    wait_until(page, "document.querySelector('#card-pictures img').naturalWidth > 500")


def test_korean_has_a_sentence_for_every_problem(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    sentences = page.evaluate("import('/page/translations.js').then((module) => module.PROBLEM_SENTENCES.ko)")
    kinds, remaining = set[str](), [errors.ServiceError]
    while remaining:
        error = remaining.pop()
        kinds.add(error.title.lower().replace(" ", "-"))
        remaining += error.__subclasses__()
    assert kinds - {errors.ServiceError.title.lower().replace(" ", "-")} == set(sentences)


def test_both_languages_say_everything(visit: Visit) -> None:
    page = visit("cats-stacked", language="ko")
    translations = page.evaluate("import('/page/translations.js').then((module) => module.TRANSLATIONS)")
    assert translations["en"].keys() == translations["ko"].keys()
    for key, sentence in translations["en"].items():
        assert set(re.findall(r"\{\w+\}", sentence)) == set(re.findall(r"\{\w+\}", translations["ko"][key])), key
    assert page.inner_text("h1") == translations["ko"]["headline"]
    page.click("#languages [lang=en]")
    assert page.inner_text("h1") == translations["en"]["headline"]
    assert page.get_attribute("html", "lang") == "en"
    page.reload()
    page.wait_for_selector("#stage:not([hidden])")
    assert page.inner_text("h1") == translations["en"]["headline"]  # the choice is kept
    page.evaluate("localStorage.clear()")
    page.reload()
    page.wait_for_selector("#stage:not([hidden])")
    assert page.inner_text("h1") == translations["ko"]["headline"]  # else the browser's own


@pytest.mark.parametrize("model", ["photos", "cats-convolutional", "cats-denoising"])
def test_axe_finds_nothing_and_nothing_sticks_out(visit: Visit, model: str) -> None:
    page = visit(model)
    if model == "photos":
        page.set_input_files("#file-input", {"name": "a.png", "mimeType": "image/png", "buffer": picture()})
        wait_for_result(page)
    else:
        wait_for_stats(page, "rror")
    page.wait_for_selector("#card-pictures figure", state="attached")
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    for width, dark, language in ((1440, False, "en"), (390, True, "ko")):
        visit.resize(width=width, dark=dark)
        if language != "en":
            page.click(f"#languages [lang={language}]")
            page.wait_for_selector("#card-pictures figure", state="attached")
        report = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in report["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
