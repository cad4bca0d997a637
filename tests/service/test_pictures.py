"""Pictures as people have them, denoised at any size: depth, alpha, colour, profile, text and pages stay."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from starlette.testclient import TestClient

from service.app import create_app
from service.codecs import images
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Notes, Picture
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.imaging.test_tiling import structured
from tests.service.test_http import NPY, npy, opened, picture, refused

RANDOM = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ALL_DEPTHS = [(dtype, bands) for dtype in (np.uint8, np.uint16) for bands in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    models = doubles.write_denoisers(tmp_path_factory.mktemp("models"))
    chosen = Settings(models=models, max_pixels=100_000, max_inside_pixels=300_000, max_batch=20, tile=64)
    with TestClient(create_app(chosen), raise_server_exceptions=False) as client:
        yield client


def url(model: str, query: str = "") -> str:
    return f"/v1/models/{model}/denoise{query}"


def pixels(dtype: Any, bands: int, height: int = 19, width: int = 45) -> Any:
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, (height, width, bands)).astype(dtype)


def send(client: TestClient, model: str, data: bytes, query: str = "", **headers: str) -> Any:
    response = client.post(url(model, query), files={"image": data}, headers=headers)
    assert response.status_code == 200, response.text
    return response


def decoded(data: bytes) -> list[Picture]:
    return images.decode(data, images.inspect(data, 10**6, "it", 100), "it")


# --- depth, alpha, colour --------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
@pytest.mark.parametrize("form", ["image/png", "image/tiff"])
def test_what_the_codec_writes_without_loss_it_reads_again(form: str, dtype: Any, bands: int) -> None:
    sent = pixels(dtype, bands)
    (read,) = decoded(images.encode(Picture(sent), form))
    assert read.pixels.dtype == dtype
    np.testing.assert_array_equal(read.pixels, sent)


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
@pytest.mark.parametrize("model", ["negative", "grey-negative"])
def test_depth_alpha_and_colour_stay_as_they_were(client: TestClient, model: str, dtype: Any, bands: int) -> None:
    sent = pixels(dtype, bands)
    response = send(client, model, images.encode(Picture(sent), "image/png"))
    assert response.headers["content-type"] == "image/png"
    (got,) = decoded(response.content)
    colours = 1 if bands < 3 else 3
    seen = sent.astype(int) if dtype == np.uint8 else (sent.astype(int) + 128) // 257
    correction = (255 - 2 * seen[:, :, :colours]) * (1 if dtype == np.uint8 else 257)
    expected = np.clip(sent[:, :, :colours] + correction, 0, np.iinfo(dtype).max)
    assert got.pixels.dtype == dtype
    np.testing.assert_array_equal(got.pixels[:, :, :colours], expected)
    np.testing.assert_array_equal(got.pixels[:, :, colours:], sent[:, :, colours:])


def test_colour_through_a_grey_model_is_three_pages(client: TestClient) -> None:
    sent = structured(101, 133, 3)
    (got,) = decoded(send(client, "page", picture(sent)).content)
    for channel in range(3):
        alone = decoded(send(client, "page", picture(sent[:, :, channel])).content)[0]
        assert np.abs(got.pixels[:, :, channel].astype(int) - alone.pixels[:, :, 0]).max() <= 1


def test_grey_through_a_colour_model_is_grey(client: TestClient) -> None:
    sent = structured(70, 80)[:, :, 0]
    colour = decoded(send(client, "photo", picture(np.dstack([sent] * 3))).content)[0].pixels.astype(int)
    (got,) = decoded(send(client, "photo", picture(sent)).content)
    assert got.pixels.shape == (70, 80, 1)
    np.testing.assert_allclose(got.pixels[:, :, 0], colour.mean(axis=2), atol=0.5)


def test_a_page_in_tiles_is_the_page_as_a_whole(client: TestClient) -> None:
    sent = picture(structured(201, 187)[:, :, 0])
    in_tiles, whole = (opened(send(client, model, sent).content).astype(int) for model in ("page", "whole"))
    assert np.abs(in_tiles - whole).max() <= 1
    batch = np.stack([structured(70, 81), structured(70, 81)[::-1]])
    arrays = [
        np.load(io.BytesIO(client.post(url(m), content=npy(batch), headers=NPY).content)) for m in ("page", "whole")
    ]
    assert arrays[0].shape == batch.shape
    assert np.abs(arrays[0].astype(int) - arrays[1]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_palettes_and_single_bits_are_unfolded(client: TestClient, mode: str, form: str) -> None:
    drawn = Image.fromarray(pixels(np.uint8, 3)).convert(mode)
    buffer = io.BytesIO()
    drawn.save(buffer, form)
    got = send(client, "negative", buffer.getvalue(), accept="image/png")
    expected = 255 - np.asarray(drawn.convert("L" if mode == "1" else "RGB"))
    np.testing.assert_array_equal(opened(got.content), expected)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb(client: TestClient, form: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 4), [0, 255, 255, 0], np.uint8), mode="CMYK").save(buffer, form)
    red = opened(send(client, "negative", buffer.getvalue(), "?strength=0", accept="image/png").content)
    assert red.shape == (20, 30, 3)
    assert red[5, 5, 0] > 200 > 60 > red[5, 5, 1]


# --- what is beside the pixels ---------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_orientation_is_applied_once(client: TestClient, form: str, orientation: int) -> None:
    sent = pixels(np.uint8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture(sent, form, exif=exif) if form == "PNG" else picture(sent, form, tiffinfo={274: orientation})
    answer = Image.open(io.BytesIO(send(client, "negative", data, "?strength=0").content))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(np.asarray(answer), upright)
    assert answer.getexif().get(0x0112, 1) == 1


def test_profile_resolution_exif_and_text_come_back(client: TestClient) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Seite 7")
    text.add_itxt("Author", "Zoë")
    exif = Image.Exif()
    exif[0x010F] = "Scanner"
    options: dict[str, Any] = {"icc_profile": PROFILE, "dpi": (300, 300)}
    extras: dict[str, Any] = {
        "PNG": {"pnginfo": text, "exif": exif}, "JPEG": {"exif": exif}, "TIFF": {"tiffinfo": {270: "A page"}},
    }  # fmt: skip
    for form, extra in extras.items():
        sent = picture(pixels(np.uint8, 3), form, **options, **extra)
        answer: Any = Image.open(io.BytesIO(send(client, "photo", sent).content))
        assert answer.format == form
        assert answer.info["icc_profile"] == PROFILE
        assert answer.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        if form == "TIFF":
            assert answer.tag_v2[270] == "A page"
        else:
            assert answer.getexif()[0x010F] == "Scanner"
        if form == "PNG":
            assert answer.text["Title"] == "Seite 7"
            assert answer.text["Author"].encode("latin-1").decode("utf-8") == "Zoë"  # as libvips writes it


def test_text_that_unfolds_to_megabytes_is_left_behind(client: TestClient) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Bomb", "x" * 5_000_000, zip=True)
    text.add_text("Title", "kept")
    answer: Any = Image.open(io.BytesIO(send(client, "page", picture(pixels(np.uint8, 3), pnginfo=text)).content))
    assert answer.text == {"Title": "kept"}


@pytest.mark.parametrize("form", images.ENCODED)
@pytest.mark.parametrize(
    ("name", "value"),
    [("icc-profile-data", b"garbage" * 30), ("icc-profile-data", b"\0\x11" + PROFILE[2:]),
     ("exif-data", b"x" * 300_000), ("xmp-data", b"x" * 3_000_000),
     ("png-comment-0-" + "k" * 100, "x"), ("exif-ifd9-Make", "x"), ("resolution-unit", "parsec")],
    ids=["profile", "profile of a wrong length", "EXIF", "XMP", "text", "tag", "unit"],
)  # fmt: skip
def test_notes_that_make_no_sense_hinder_no_writer(form: str, name: str, value: bytes | str) -> None:
    kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.refstr_type
    sent = Picture(pixels(np.uint8, 3), Notes(((kind, name, value),)))
    assert decoded(images.encode(sent, form))[0].pixels.shape == sent.pixels.shape


# --- pages and frames ------------------------------------------------------------------------------------


def test_pages_of_any_size_and_depth_come_back_as_pages(client: TestClient) -> None:
    sent = [pixels(dtype, bands, 10 + 7 * bands, 30 + bands) for dtype, bands in ALL_DEPTHS]
    data = images.encode_pages([Picture(page) for page in sent])
    response = send(client, "negative", data, "?strength=0")
    assert response.headers["content-type"] == "image/tiff"
    for page, got in zip(sent, decoded(response.content), strict=True):
        assert got.pixels.dtype == page.dtype
        np.testing.assert_array_equal(got.pixels, page)
    document = client.post(url("negative", "?strength=0"), content=data, headers={"Accept": "application/json"}).json()
    np.testing.assert_array_equal(decoded(base64.b64decode(document["images"][7]))[0].pixels, sent[7])
    for accept in ("image/png", "application/x-npy"):
        answer = client.post(url("negative"), files={"image": data}, headers={"Accept": accept})
        refused(answer, 406, "has 8 pages, and of pictures only image/tiff holds several")


def test_pages_are_readable_by_others(client: TestClient) -> None:
    pages = [Image.fromarray(pixels(np.uint8, 3, 20 + n)) for n in range(3)]
    for form in ("tiff_lzw", "jpeg", "raw"):
        buffer = io.BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression=form)
        answer = Image.open(io.BytesIO(send(client, "photo", buffer.getvalue(), "?strength=0").content))
        assert getattr(answer, "n_frames", 1) == 3
        for number, page in enumerate(pages):
            answer.seek(number)
            assert answer.size == page.size
            if form != "jpeg":
                np.testing.assert_array_equal(np.asarray(answer), np.asarray(page))


def test_pages_have_limits(client: TestClient) -> None:
    tiny, large = Picture(pixels(np.uint8, 1, 3, 3)), Picture(pixels(np.uint8, 1, 300, 300))
    many = images.encode_pages([tiny] * 21)
    refused(client.post(url("page"), files={"image": many}), 413, "more than 20 pages, which is the limit")
    heavy = images.encode_pages([large] * 4)
    refused(client.post(url("page"), files={"image": heavy}), 413, "M pixels or numbers; the limit is 0.3 M")
    wide = images.encode_pages([tiny, Picture(pixels(np.uint8, 1, 400, 300))])
    refused(client.post(url("page"), files={"image": wide}), 413, "the limit is 0.1 Mpixel")
    pair = images.encode_pages([tiny] * 2)
    several = [("image", pair), ("image", pair)]
    refused(client.post(url("page"), files=several), 422, "has several frames or pages; send one picture")


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_animations_are_refused(client: TestClient, form: str) -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(pixels(np.uint8, 3)) for _ in range(2)]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    refused(client.post(url("page"), files={"image": buffer.getvalue()}), 422, "is animated, it has several frames")


def test_a_kind_of_tiff_that_is_not_read_is_told_so(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(np.uint8, 3)).convert("LAB").save(buffer, "TIFF")
    refused(client.post(url("page"), files={"image": buffer.getvalue()}), 422, "a kind of TIFF that is not read")


def test_more_channels_than_anyone_can_see_are_refused(client: TestClient) -> None:
    image = pyvips.Image.black(20, 20, bands=5).copy(interpretation="multiband")
    refused(client.post(url("page"), files={"image": image.tiffsave_buffer()}), 422, "image has 5 channels; send grey")


@pytest.mark.parametrize(("mode", "words"), [("F", "floating-point"), ("I", "32-bit whole")])
def test_pixels_without_a_known_white_are_refused(client: TestClient, mode: str, words: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(np.uint8, 1)[:, :, 0]).convert(mode).save(buffer, "TIFF")
    refused(client.post(url("page"), files={"image": buffer.getvalue()}), 422, words)


def test_no_reader_is_left_that_is_not_called_by_name() -> None:
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "GIF")
    for data in (buffer.getvalue(), b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"P5 1 1 255 x"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "")


# --- the form of the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "media"),
    [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("TIFF", "tiff"), ("BMP", "png")],
)
def test_a_picture_comes_back_in_its_own_format(client: TestClient, form: str, media: str) -> None:
    sent = np.full((20, 30, 3), 100, np.uint8)
    response = send(client, "negative", picture(sent, form))
    assert response.headers["content-type"] == f"image/{media}"
    np.testing.assert_allclose(decoded(response.content)[0].pixels, 155, atol=2)
    assert send(client, "negative", picture(sent, form), accept="image/tiff").headers["content-type"] == "image/tiff"


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
def test_formats_of_8_bits_get_8_bits_and_jpeg_is_over_white(client: TestClient, dtype: Any, bands: int) -> None:
    sent = np.zeros((24, 24, bands), dtype)
    data = images.encode(Picture(sent), "image/png")
    for media in ("image/jpeg", "image/webp"):
        (got,) = decoded(send(client, "negative", data, "?strength=0", accept=media).content)
        assert got.pixels.dtype == np.uint8
        white = bands in (2, 4) and media == "image/jpeg"
        np.testing.assert_allclose(got.pixels[:, :, 0], 255 if white else 0, atol=2)


def test_a_format_that_cannot_hold_the_size_is_refused(client: TestClient) -> None:
    data = picture(np.zeros((1, 65501, 3), np.uint8))
    for media, limit in (("image/jpeg", 65500), ("image/webp", 16383)):
        answer = client.post(url("negative"), files={"image": data}, headers={"Accept": media})
        refused(answer, 406, f"the answer is 65501x1, {media[6:].upper()} holds at most {limit} pixels a side")


# --- strength --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_is_between_the_picture_and_the_denoised_one(client: TestClient, dtype: Any) -> None:
    sent = pixels(dtype, 3)
    data = images.encode(Picture(sent), "image/png")
    none, half, full = (
        decoded(send(client, "photo", data, f"?strength={s}").content)[0].pixels.astype(float) for s in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(none, sent)
    inside = (full > 0) & (full < np.iinfo(dtype).max)
    np.testing.assert_allclose(half[inside], ((sent + full) / 2)[inside], atol=1)
    assert np.abs(full - sent).mean() > 1


def test_strength_is_for_arrays_and_vectors_too(client: TestClient) -> None:
    batch = pixels(np.uint8, 1)[None]
    for strength, expected in ((0, batch), (0.25, np.rint(batch + 0.25 * (255.0 - 2.0 * batch))), (1, 255 - batch)):
        query = f"?strength={strength}"
        array = np.load(io.BytesIO(client.post(url("grey-negative", query), content=npy(batch), headers=NPY).content))
        np.testing.assert_array_equal(array, expected)
        document = client.post(url("grey-negative", query), json={"inputs": batch.tolist()}).json()
        np.testing.assert_array_equal(document["outputs"], expected)
    numbers = [0.1, 2, 3, 4, 5, 6]
    document = client.post(url("signal", "?strength=0.5"), json={"inputs": numbers}).json()
    np.testing.assert_allclose(document["outputs"], [numbers], rtol=1e-6)


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "much", "", "inf"])
def test_a_strength_out_of_range_is_refused(client: TestClient, value: str) -> None:
    answer = client.post(url("page", f"?strength={value}"), files={"image": picture(pixels(np.uint8, 3))})
    refused(answer, 422, f"strength is '{value}'; allowed are numbers from 0 to 1")


def test_strength_is_for_denoise_and_openapi_says_so(client: TestClient) -> None:
    answer = client.post("/v1/models/signal/encode?strength=0.5", json={"inputs": [1, 2, 3, 4, 5, 6]})
    refused(answer, 422, "strength is for denoise")
    refused(client.post(url("page", "?size=3"), content=b""), 422, "allowed are fit, strength and dpi")
    paths = client.get("/openapi.json").json()["paths"]
    names = {operation: [p["name"] for p in paths[f"/v1/models/{{name}}/{operation}"]["post"]["parameters"]]
             for operation in ("encode", "denoise")}  # fmt: skip
    assert names == {
        "encode": ["name", "fit", "Request-Deadline"],
        "denoise": ["name", "fit", "strength", "dpi", "Request-Deadline"],
    }


# --- damaged pictures ------------------------------------------------------------------------------------


def rich() -> list[bytes]:
    """Valid pictures of every depth, format and kind of note."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Seite 7", zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(pixels(np.uint8, 3))
    made = [
        images.encode(Picture(pixels(dtype, bands)), form) for dtype, bands in ALL_DEPTHS for form in images.ENCODED
    ]
    made.append(images.encode_pages([Picture(pixels(dtype, bands)) for dtype, bands in ALL_DEPTHS]))
    noted: dict[str, dict[str, Any]] = {
        "PNG": {"exif": exif, "pnginfo": text, "icc_profile": PROFILE}, "JPEG": {"exif": exif, "icc_profile": PROFILE},
        "WEBP": {"exif": exif, "icc_profile": PROFILE}, "TIFF": {"icc_profile": PROFILE, "compression": "tiff_lzw"},
        "BMP": {},
    }  # fmt: skip
    for form, options in noted.items():
        made.append(picture(np.asarray(colour), form, **options))
    return made


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(rich()),
    st.sampled_from(["page", "photo", "negative", "whole"]),
    st.lists(st.tuples(st.sampled_from([40, 400, 10**6]), st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 10**6)),
    st.sampled_from(["*/*", *images.ENCODED, "application/json", "application/x-npy"]),
)
def test_a_damaged_picture_never_gives_a_500(
    client: TestClient, valid: bytes, model: str, flips: list[tuple[int, int, int]], cut: int | None, accept: str
) -> None:
    body = bytearray(valid)
    for within, place, value in flips:
        body[place % min(within, len(body))] = value
    if cut is not None:
        body = body[: cut % len(body)]
    response = client.post(url(model), content=bytes(body), headers={"Accept": accept, "Content-Type": ""})
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


# --- small pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (1, 1), (64, 64, 3)])
def test_a_small_bare_png_is_read_as_libvips_reads_it(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), "PNG")
    quick = images.decode(data, images.inspect(data, 10_000, "it"), "it")[0]
    assert images._small_png(data) == shape[1::-1]
    monkeypatch.setattr(images, "SMALL", 0)
    assert images._small_png(data) is None
    slow = images.decode(data, images.inspect(data, 10_000, "it"), "it")[0]
    np.testing.assert_array_equal(quick.pixels, slow.pixels)
    assert quick.notes.fields == slow.notes.fields
    np.testing.assert_allclose(quick.notes.resolution or (), slow.notes.resolution or (0, 0), rtol=1e-3)


def test_a_small_png_with_more_than_pixels_is_left_to_libvips() -> None:
    pixels = np.zeros((9, 9), np.uint8)
    assert images._small_png(picture(pixels, "PNG", dpi=(300, 300))) is None
    assert images._small_png(picture(pixels, "PNG", transparency=0)) is None
    assert images._small_png(picture(pixels, "PNG")[:-1]) is None
    assert images._small_png(picture(np.zeros((80, 80), np.uint8), "PNG")) is None
    assert images._small_png(b"\x89PNG") is None


@pytest.mark.parametrize("place", [20, 40, 45, 50])
def test_a_small_png_that_is_damaged_is_refused(place: int) -> None:
    data = bytearray(picture(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8), "PNG"))
    data[place] ^= 0x55
    with pytest.raises((InvalidInput, TooLarge)):
        images.decode(bytes(data), images.inspect(bytes(data), 10_000, "it"), "it")
