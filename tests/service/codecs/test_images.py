"""Image codecs: formats, depth, palettes, CMYK, orientation, metadata, limits, damaged files."""

import io
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin
from starlette.testclient import TestClient

from service.codecs import images
from service.codecs.formats import WRITABLE_MEDIA_TYPES
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Metadata, Picture
from service.interruption import Interruption, interruptible
from tests.service.codecs.image_formats.test_jpeg import progressive, repeat_last_scan
from tests.service.denoisers import ALL_DEPTHS, PROFILE, decode_pages, denoise_url, pixels, send
from tests.service.http import ENCODE, IMAGE, npy, opened, picture, refused, served, url


def test_a_side_over_its_limit_is_refused_from_the_header(models: Path) -> None:
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 70_000, 1, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    with served(models) as client:
        response = client.post(ENCODE, content=data, headers={"Content-Type": "image/png"})
    assert response.status_code == 413, response.text
    assert "70000x1" in response.json()["detail"]
    assert response.json()["limit"] == 65_535


def test_readers_of_other_formats_cannot_be_reached() -> None:
    import pyvips

    import service.codecs.images  # noqa: F401  (blocks them)

    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    for data in (svg, gif, b"P5 1 1 255 \0", b"%PDF-1.4\n", b"#?RADIANCE\n"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "")
    for reader in ("csvload", "rawload", "matrixload", "vipsload", "pngload", "tiffload", "jpegload"):
        options = (4, 4, 1) if reader == "rawload" else ()
        with pytest.raises(pyvips.Error, match="blocked"):
            getattr(pyvips.Image, reader)(__file__, *options)


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (np.full((28, 28, 3), 90, np.uint8), {}, 90),
        (np.full((28, 28), 60000, np.uint16), {}, 233),
        (np.dstack([np.zeros((28, 28, 3), np.uint8), np.full((28, 28), 51, np.uint8)]), {}, 204),
        (np.dstack([np.full((28, 28), 80, np.uint8), np.full((28, 28), 255, np.uint8)]), {}, 80),
    ],
    ids=["colour", "16-bit", "alpha over white", "grey with alpha"],
)
def test_pictures_of_any_mode_are_read(client: TestClient, pixels: np.ndarray, options: Any, expected: int) -> None:
    response = client.post(url("encode"), files={"image": picture(pixels, **options)})
    np.testing.assert_allclose(response.json()["latents"][0], expected / 255, atol=0.006)


def test_exif_orientation_is_applied(client: TestClient) -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:, :14] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down and mirrored: turned by 180 degrees
    response = client.post(url("encode"), files={"image": picture(pixels, exif=exif)})
    assert np.round(response.json()["latents"][0][:28]).tolist() == [0] * 14 + [1] * 14


def frames(form: str) -> bytes:
    buffer = io.BytesIO()
    pages = [Image.new("L", (28, 28), shade) for shade in (0, 9)]
    pages[0].save(buffer, form, save_all=True, append_images=pages[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "media", "status", "words"),
    [
        (b"", "image/png", 422, "body is empty"),
        (picture()[:200], "image/png", 422, "damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 50, "image/png", 422, "header is damaged"),
        (b"GIF89a", "image/png", 422, "damaged or cut off"),
        (b"P5 1 1 255 x", "image/png", 415, "image is a PNM (PBM, PGM, PPM, PAM), which is not read here"),
        (b"hello, world", "image/png", 415, "not a picture in PNG"),
        (b"hello, world", "image/anything", 415, "image/anything does not say what the body is"),
        (picture(), "application/x-www-form-urlencoded", 415, "-F image=@FILE"),
        (
            picture(np.zeros((1001, 1000), np.uint8)),
            "image/png",
            413,
            "1000x1001 (1.001 Mpixel); the limit is 1 Mpixel",
        ),
        (frames("TIFF"), "image/tiff", 422, "several frames"),
        (frames("PNG"), "image/png", 422, "several frames"),
        (b"{", "application/json", 400, "not JSON"),
        (b"", "application/json", 400, "the body is empty; JSON is expected"),
        (b" \n", "application/json", 400, "the body is empty"),
        (b"", "application/x-npy", 400, "the body is empty: 0 bytes"),
        (b"", "image/png", 422, "the body is empty; an image is expected"),
        (b"", "application/octet-stream", 422, "the body is empty"),
        (b'{"inputs": [NaN]}', "application/json", 400, "not JSON"),
        (b"[1]", "application/json", 422, "no JSON object"),
        (b"{}", "application/json", 422, "no member 'inputs'"),
        (b'{"inputs": [], "x": 1}', "application/json", 422, "a member 'x'"),
        (b'{"inputs": []}', "application/json", 422, "empty"),
        (b'{"inputs": 5}', "application/json", 422, "a single number"),
        (b'{"inputs": [[1, 2], [3]]}', "application/json", 422, "ragged"),
        (b'{"inputs": [[1, null]]}', "application/json", 422, "null"),
        (b'{"inputs": [[1, true]]}', "application/json", 422, "true or false"),
        (b'{"inputs": [[0.5]]}', "application/json", 422, "pixels are whole numbers"),
        (b'{"inputs": [[256]]}', "application/json", 422, "holds 256"),
        (b'{"inputs": ["%%%"]}', "application/json", 422, "not a base64 image"),
        (b'{"inputs": ' + b"[" * 20 + b"1" + b"]" * 20 + b"}", "application/json", 422, "more than 8 lists deep"),
        (b"\x93NUMPY\x01\x00", "application/x-npy", 400, "header cannot be read"),
        (npy(IMAGE)[:-5], "application/x-npy", 400, "784 bytes; 779 came"),
        (npy(IMAGE.astype(float)), "application/x-npy", 422, "dtype float64; pixels are uint8"),
        (npy(np.array(["a"])), "application/x-npy", 422, "dtype <U1"),
        (npy(np.zeros((0, 28, 28), np.uint8)), "application/x-npy", 422, "empty"),
        (npy(np.zeros((28, 28, 3, 1, 1), np.uint8)), "application/x-npy", 422, "images are [H,W]"),
        (npy(np.zeros((1,) * 9, np.uint8)), "application/x-npy", 422, "9 axes"),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400, ""),
        (b"hello", "multipart/form-data", 400, "no boundary"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    client: TestClient, body: bytes, media: str, status: int, words: str
) -> None:
    refused(client.post(url("encode"), content=body, headers={"Content-Type": media}), status, words)


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
@pytest.mark.parametrize("form", ["image/png", "image/tiff"])
def test_what_the_codec_writes_without_loss_it_reads_again(form: str, dtype: Any, bands: int) -> None:
    array = pixels(dtype, bands)
    (decoded,) = decode_pages(images.encode(Picture(array), form))
    assert decoded.pixels.dtype == dtype
    np.testing.assert_array_equal(decoded.pixels, array)


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_palettes_and_single_bits_are_seen_as_pixels_of_8_bits(denoisers: TestClient, mode: str, form: str) -> None:
    image = Image.fromarray(pixels(np.uint8, 3)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    response = send(denoisers, "negative", buffer.getvalue(), accept="image/png")
    expected = 255 - np.asarray(image.convert("L" if mode == "1" else "RGB"))
    answer = Image.open(io.BytesIO(response.content)).convert("L" if mode == "1" else "RGB")
    np.testing.assert_array_equal(np.asarray(answer), expected)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb(denoisers: TestClient, form: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 4), [0, 255, 255, 0], np.uint8), mode="CMYK").save(buffer, form)
    red = opened(send(denoisers, "negative", buffer.getvalue(), "?strength=0", accept="image/png").content)
    assert red.shape == (20, 30, 3)
    assert red[5, 5, 0] > 200 > 60 > red[5, 5, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_orientation_is_applied_once(denoisers: TestClient, form: str, orientation: int) -> None:
    array = pixels(np.uint8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture(array, form, exif=exif) if form == "PNG" else picture(array, form, tiffinfo={274: orientation})
    answer = Image.open(io.BytesIO(send(denoisers, "negative", data, "?strength=0").content))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(np.asarray(answer), upright)
    assert answer.getexif().get(0x0112, 1) == 1


def test_profile_resolution_exif_and_text_come_back(denoisers: TestClient) -> None:
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
        data = picture(pixels(np.uint8, 3), form, **options, **extra)
        answer: Any = Image.open(io.BytesIO(send(denoisers, "photo", data).content))
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


def test_text_that_decompresses_to_megabytes_is_dropped(denoisers: TestClient) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Bomb", "x" * 5_000_000, zip=True)
    text.add_text("Title", "kept")
    answer: Any = Image.open(io.BytesIO(send(denoisers, "page", picture(pixels(np.uint8, 3), pnginfo=text)).content))
    assert answer.text == {"Title": "kept"}


@pytest.mark.parametrize("form", WRITABLE_MEDIA_TYPES)
@pytest.mark.parametrize(
    ("name", "value"),
    [("icc-profile-data", b"garbage" * 30), ("icc-profile-data", b"\0\x11" + PROFILE[2:]),
     ("exif-data", b"x" * 300_000), ("xmp-data", b"x" * 3_000_000),
     ("png-comment-0-" + "k" * 100, "x"), ("exif-ifd9-Make", "x"), ("resolution-unit", "parsec")],
    ids=["profile", "profile of a wrong length", "EXIF", "XMP", "text", "tag", "unit"],
)  # fmt: skip
def test_metadata_that_makes_no_sense_hinders_no_writer(form: str, name: str, value: bytes | str) -> None:
    kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.refstr_type
    original = Picture(pixels(np.uint8, 3), Metadata(((kind, name, value),)))
    assert decode_pages(images.encode(original, form))[0].pixels.shape == original.pixels.shape


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_animations_are_refused(denoisers: TestClient, form: str) -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(pixels(np.uint8, 3)) for _ in range(2)]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    refused(
        denoisers.post(denoise_url("page"), files={"image": buffer.getvalue()}),
        422,
        "is animated, it has several frames",
    )


def test_a_kind_of_tiff_that_is_not_read_is_refused_by_its_name(denoisers: TestClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(np.uint8, 3)).convert("LAB").save(buffer, "TIFF")
    refused(
        denoisers.post(denoise_url("page"), files={"image": buffer.getvalue()}),
        422,
        "a TIFF with CIE L*a*b* colours, which is not read",
    )


def test_more_channels_than_anyone_can_see_are_refused(denoisers: TestClient) -> None:
    image = pyvips.Image.black(20, 20, bands=5).copy(interpretation="multiband")
    refused(
        denoisers.post(denoise_url("page"), files={"image": image.tiffsave_buffer()}),
        422,
        "image has 5 channels; send grey",
    )


def test_no_reader_is_left_that_is_not_called_by_name() -> None:
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "GIF")
    for data in (buffer.getvalue(), b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"P5 1 1 255 x"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "")


def test_a_format_that_cannot_hold_the_size_is_refused(denoisers: TestClient) -> None:
    data = picture(np.zeros((1, 65501, 3), np.uint8))
    for media, limit in (("image/jpeg", 65500), ("image/webp", 16383)):
        answer = denoisers.post(denoise_url("negative"), files={"image": data}, headers={"Accept": media})
        refused(answer, 406, f"the answer is 65501x1, {media[6:].upper()} holds at most {limit} pixels a side")


def rich() -> list[bytes]:
    """Valid pictures of every depth, format and kind of note."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Seite 7", zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(pixels(np.uint8, 3))
    files = [
        images.encode(Picture(pixels(dtype, bands)), form)
        for dtype, bands in ALL_DEPTHS
        for form in WRITABLE_MEDIA_TYPES
    ]
    files.append(images.encode_pages([Picture(pixels(dtype, bands)) for dtype, bands in ALL_DEPTHS]))
    noted: dict[str, dict[str, Any]] = {
        "PNG": {"exif": exif, "pnginfo": text, "icc_profile": PROFILE}, "JPEG": {"exif": exif, "icc_profile": PROFILE},
        "WEBP": {"exif": exif, "icc_profile": PROFILE}, "TIFF": {"icc_profile": PROFILE, "compression": "tiff_lzw"},
        "BMP": {},
    }  # fmt: skip
    for form, options in noted.items():
        files.append(picture(np.asarray(colour), form, **options))
    return files


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(rich()),
    st.sampled_from(["page", "photo", "negative", "whole"]),
    st.lists(st.tuples(st.sampled_from([40, 400, 10**6]), st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 10**6)),
    st.sampled_from(["*/*", *WRITABLE_MEDIA_TYPES, "application/json", "application/x-npy"]),
)
def test_a_damaged_picture_never_gives_a_500(
    denoisers: TestClient, valid: bytes, model: str, flips: list[tuple[int, int, int]], cut: int | None, accept: str
) -> None:
    body = bytearray(valid)
    for within, place, value in flips:
        body[place % min(within, len(body))] = value
    if cut is not None:
        body = body[: cut % len(body)]
    response = denoisers.post(denoise_url(model), content=bytes(body), headers={"Accept": accept, "Content-Type": ""})
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (1, 1), (64, 64, 3)])
def test_a_small_bare_png_is_read_as_libvips_reads_it(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), "PNG")
    quick = images.decode(data, images.inspect(data, 10_000, "it"), "it")[0]
    assert images._small_png_size(data) == shape[1::-1]
    monkeypatch.setattr(images, "SMALL_PIXELS", 0)
    assert images._small_png_size(data) is None
    slow = images.decode(data, images.inspect(data, 10_000, "it"), "it")[0]
    np.testing.assert_array_equal(quick.pixels, slow.pixels)
    assert quick.metadata.fields == slow.metadata.fields
    np.testing.assert_allclose(quick.metadata.resolution or (), slow.metadata.resolution or (0, 0), rtol=1e-3)


def test_a_small_png_with_more_than_pixels_is_left_to_libvips() -> None:
    pixels = np.zeros((9, 9), np.uint8)
    assert images._small_png_size(picture(pixels, "PNG", dpi=(300, 300))) is None
    assert images._small_png_size(picture(pixels, "PNG", transparency=0)) is None
    assert images._small_png_size(picture(pixels, "PNG")[:-1]) is None
    assert images._small_png_size(picture(np.zeros((80, 80), np.uint8), "PNG")) is None
    assert images._small_png_size(b"\x89PNG") is None


@pytest.mark.parametrize("place", [20, 40, 45, 50])
def test_a_small_png_that_is_damaged_is_refused(place: int) -> None:
    data = bytearray(picture(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8), "PNG"))
    data[place] ^= 0x55
    with pytest.raises((InvalidInput, TooLarge)):
        images.decode(bytes(data), images.inspect(bytes(data), 10_000, "it"), "it")


def interrupted_after(seconds: float) -> Interruption:
    """Its timer counts seconds of the clock; the tests compare CPU time, which other programs do not lengthen."""
    interruption = Interruption()
    threading.Timer(seconds, interruption.stop).start()
    return interruption


def test_decoding_ends_when_its_thread_is_interrupted() -> None:
    data = images.encode(Picture(np.zeros((9000, 9000, 3), np.uint8)), "image/png")
    header = images.inspect(data, 10**9, "image")
    start = time.process_time()
    with interruptible(interrupted_after(0.05)), pytest.raises(InvalidInput):
        images.decode(data, header, "image")
    interrupted = time.process_time() - start
    images.decode(data, header, "image")
    assert interrupted < 0.7 * (time.process_time() - start - interrupted)


@pytest.mark.parametrize("form", [form for form in WRITABLE_MEDIA_TYPES if form != "image/avif"])
def test_encoding_ends_when_its_thread_is_interrupted(form: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    metadata = Metadata(((pyvips.GValue.gstr_type, "png-comment-0-note", "kept"),))
    start = time.process_time()
    with interruptible(interrupted_after(0.03)), pytest.raises((pyvips.Error, InterruptedError)):
        images.encode(Picture(values, metadata), form)
    interrupted = time.process_time() - start
    with interruptible(Interruption()):
        assert images.encode(Picture(values, metadata), form)
    assert interrupted < 0.8 * (time.process_time() - start - interrupted)


def test_scans_of_a_strip_in_a_tiff_are_bounded() -> None:
    """A strip's JPEG may be progressive; libtiff's own limit is 100 scans."""
    strip = repeat_last_scan(progressive(64), 40)
    values = [  # tag, type (3: short, 4: long), value
        (256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 7), (262, 3, 6), (273, 4, 134), (277, 3, 3), (278, 4, 64),
        (279, 4, len(strip)), (284, 3, 1),
    ]  # fmt: skip
    entries = b"".join(
        struct.pack("<HHIHxx" if kind == 3 else "<HHII", tag, kind, 1, value) for tag, kind, value in values
    )
    data = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + b"\0\0\0\0"
    data = data.ljust(134, b"\0") + strip
    header = images.inspect(data, 10**6, "image")
    with pytest.raises(InvalidInput) as refusal:
        images.decode(data, header, "image")
    assert "Scan number" in str(refusal.value.__cause__)


@pytest.mark.parametrize("form", WRITABLE_MEDIA_TYPES)
def test_a_file_that_is_taken_in_slices_is_the_same(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1100, 3), np.uint8)
    example = Picture(noise, Metadata(resolution=(10.0, 20.0)))
    in_one_step = images.encode(example, form)
    monkeypatch.setattr(images, "_MAX_COPY_BYTES", 0)
    assert images.encode(example, form) == in_one_step
