"""The HTTP contract, route by route, against tiny real packages."""

import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

IMAGE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
NPY = {"Content-Type": "application/x-npy"}


def picture(pixels: np.ndarray = IMAGE, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def url(operation: str, model: str = "small") -> str:
    return f"/v1/models/{model}/{operation}"


def refused(response: Any, status: int, *words: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    for word in words:
        assert word in document["detail"], document["detail"]
    return document


LATENT = (IMAGE.reshape(-1)[:32] / np.float32(255)).astype(np.float32)
DRAWN = np.where(np.arange(784) < 32, IMAGE.reshape(-1), 0).reshape(28, 28).astype(np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_raw_picture_is_encoded_to_json(client: TestClient, form: str) -> None:
    response = client.post(url("encode"), content=picture(form=form), headers={"Content-Type": f"image/{form.lower()}"})
    document = response.json()
    assert (document["model"], document["version"], document["operation"]) == ("small", 2, "encode")
    np.testing.assert_array_equal(np.float32(document["latents"][0]), LATENT)
    assert response.headers["model-name"] == "small"
    assert response.headers["model-version"] == "2"


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_pictures_are_read_too(client: TestClient, form: str) -> None:
    grey = np.full((28, 28), 100, np.uint8)
    response = client.post(
        url("encode"), content=picture(grey, form), headers={"Content-Type": f"image/{form.lower()}"}
    )
    np.testing.assert_allclose(response.json()["latents"][0], 100 / 255, atol=0.01)


def test_a_picture_without_a_media_type_is_known_by_its_first_bytes(client: TestClient) -> None:
    response = client.post(url("encode"), content=picture(), headers={"Content-Type": "application/octet-stream"})
    assert response.status_code == 200
    refused(client.post(url("encode"), content=b"????", headers={"Content-Type": ""}), 415, "first bytes")


def test_one_file_of_a_form_is_a_picture_and_the_answer_is_png(client: TestClient) -> None:
    response = client.post(url("reconstruct"), files={"image": picture()})
    assert response.headers["content-type"] == "image/png"
    assert np.array_equal(opened(response.content), DRAWN)
    error = np.mean(((IMAGE.astype(float) - DRAWN) / 255) ** 2)
    assert float(response.headers["reconstruction-error"]) == pytest.approx(error, rel=1e-4)
    assert float(response.headers["reconstruction-error-percentile"]) == pytest.approx(error / 0.5 * 100, rel=1e-3)


def test_several_files_are_a_batch_and_the_answer_is_json(client: TestClient) -> None:
    files = [("image", picture()), ("image", npy(IMAGE)), ("image", picture(IMAGE.T.copy()))]
    document = client.post(url("reconstruct"), files=files).json()
    assert len(document["images"]) == len(document["percentile"]) == 3
    assert np.array_equal(opened(base64.b64decode(document["images"][0])), DRAWN)
    assert document["reconstruction_error"][0] == document["reconstruction_error"][1]
    refused(client.post(url("denoise"), files=files, headers={"Accept": "image/png"}), 406, "3 pictures do not fit")


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (1, 28, 28), (1, 28, 28, 1)])
def test_npy_in_gives_npy_out_with_the_batch_axis(client: TestClient, shape: tuple[int, ...]) -> None:
    response = client.post(url("denoise"), content=npy(IMAGE.reshape(shape)), headers=NPY)
    assert response.headers["content-type"] == "application/x-npy"
    output = np.load(io.BytesIO(response.content))
    assert output.shape == (1, 28, 28, 1)
    assert np.array_equal(output[0, :, :, 0], DRAWN)


def test_a_large_batch_comes_back_in_its_order(client: TestClient) -> None:
    batch = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    response = client.post(url("encode"), content=npy(batch), headers={**NPY, "Accept": "application/x-npy"})
    latents = np.load(io.BytesIO(response.content))
    np.testing.assert_array_equal(latents, batch.reshape(200, -1)[:, :32] / np.float32(255))
    refused(client.post(url("encode"), content=npy(np.concatenate([batch, batch])), headers=NPY), 413, "limit is 200")


def test_numbers_in_json_give_numbers_out(client: TestClient) -> None:
    document = client.post(url("reconstruct"), json={"inputs": IMAGE.tolist()}).json()
    assert np.array_equal(np.array(document["outputs"])[0, :, :, 0], DRAWN)
    assert len(document["reconstruction_error"]) == 1


def test_base64_pictures_in_json_give_base64_pictures_out(client: TestClient) -> None:
    text = base64.b64encode(picture()).decode()
    for inputs in (text, [text], f"data:image/png;base64,{text}"):
        document = client.post(url("denoise"), json={"inputs": inputs}).json()
        assert np.array_equal(opened(base64.b64decode(document["images"][0])), DRAWN)


def test_what_encode_answers_is_what_decode_takes(client: TestClient) -> None:
    encoded = client.post(url("encode"), files={"image": picture()})
    decoded = client.post(url("decode"), content=encoded.content, headers={"Content-Type": "application/json"})
    assert np.array_equal(np.array(decoded.json()["outputs"])[0, :, :, 0], DRAWN)
    drawn = client.post(url("decode"), content=npy(LATENT), headers={**NPY, "Accept": "image/png"})
    assert np.array_equal(opened(drawn.content), DRAWN)


def test_latents_of_another_version_or_model_are_refused(client: TestClient) -> None:
    encoded = client.post("/v1/models/small/versions/1/encode", files={"image": picture()}).json()
    assert encoded["version"] == 1
    refused(client.post(url("decode"), json=encoded), 409, "are of small version 1, this is small version 2")
    assert client.post("/v1/models/small/versions/1/decode", json=encoded).status_code == 200
    refused(client.post(url("decode"), json={**encoded, "model": "other"}), 409, "are of other")
    refused(client.post(url("decode"), json={**encoded, "version": "1"}), 422, "whole number")
    refused(client.post(url("decode"), json={**encoded, "operation": "denoise"}), 422, "operation must be 'encode'")


@pytest.mark.parametrize(("accept", "media"), [("image/jpeg", "JPEG"), ("image/webp", "WEBP"), ("image/*", "PNG")])
def test_accept_chooses_the_form(client: TestClient, accept: str, media: str) -> None:
    response = client.post(url("denoise"), files={"image": picture()}, headers={"Accept": accept})
    assert Image.open(io.BytesIO(response.content)).format == media
    refused(client.post(url("encode"), files={"image": picture()}, headers={"Accept": accept}), 406, "application/json")
    refused(client.post(url("denoise"), files={"image": picture()}, headers={"Accept": "text/html"}), 406, "image/png")


def test_vectors_are_served(client: TestClient) -> None:
    document = client.post(url("encode", "signal"), json={"inputs": [1, 2, 3, 4, 5, 6.5]}).json()
    assert document["latents"] == [[2, 4, 6, 8, 10, 13]]
    response = client.post(url("reconstruct", "signal"), content=npy(np.arange(12.0).reshape(2, 6)), headers=NPY)
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), np.arange(12.0).reshape(2, 6))
    assert response.headers["reconstruction-error"] == "0, 0"
    refused(client.post(url("encode", "signal"), files={"image": picture()}), 415, "multipart/form-data is not taken")


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 12)])
def test_a_denoiser_takes_any_size(client: TestClient, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    response = client.post(url("denoise", "negative"), files={"image": picture(pixels)})
    assert np.array_equal(opened(response.content), 255 - pixels)
    fit = client.post(url("denoise", "negative") + "?fit=cover", files={"image": picture(pixels)})
    refused(fit, 422, "fit is for models of one image size")


def test_another_size_is_refused_and_can_be_resized(client: TestClient) -> None:
    wide = np.full((10, 40), 200, np.uint8)
    document = refused(client.post(url("encode"), files={"image": picture(wide)}), 422, "is 40x10, small takes 28x28")
    assert (document["width"], document["height"]) == (28, 28)
    for how in ("contain", "cover", "stretch"):
        response = client.post(f"{url('encode')}?fit={how}", files={"image": picture(wide)})
        np.testing.assert_allclose(response.json()["latents"][0], 200 / 255, atol=0.01)
    refused(
        client.post(f"{url('encode')}?fit=squash", files={"image": picture()}), 422, "'contain', 'cover' or 'stretch'"
    )
    refused(client.post(f"{url('encode')}?size=3", files={"image": picture()}), 422, "the only one is fit")


def test_contain_keeps_all_and_cover_fills(client: TestClient) -> None:
    halves = np.zeros((28, 56), np.uint8)
    halves[:, 28:] = 255
    contained, covered = (
        opened(client.post(f"{url('denoise')}?fit={how}", files={"image": picture(halves)}).content)
        for how in ("contain", "cover")
    )
    assert contained.shape == covered.shape == (28, 28)
    assert covered[0, :10].max() == 0
    assert covered[0, 20:].min() == 255


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
def test_pictures_as_people_have_them(client: TestClient, pixels: np.ndarray, options: Any, expected: int) -> None:
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
        (b"GIF89a", "image/png", 415, "not a picture in PNG"),
        (b"GIF89a", "image/gif", 415, "image/gif is not taken"),
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


def test_a_lying_npy_header_is_refused_before_any_memory_is_taken(client: TestClient) -> None:
    body = npy(IMAGE).replace(b"(28, 28)", b"(1152921504606846976,)"[:8].ljust(8))
    lying = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }".ljust(117) + b"\n"
    refused(client.post(url("encode"), content=lying + header, headers=NPY), 400, "9223372036854775808 bytes; 0 came")
    assert client.post(url("encode"), content=body, headers=NPY).status_code < 500


def test_415_lists_what_is_accepted(client: TestClient) -> None:
    response = client.post(url("encode"), content=b"x", headers={"Content-Type": "text/plain"})
    document = refused(response, 415, "text/plain is not taken; accepted: image/png")
    assert "application/x-npy" in document["accepted"]
    assert "image/webp" in response.headers["accept-post"]


@pytest.mark.parametrize("latents", [[1.0] * 31, [[1.0] * 33], [["a"]], [[1e39] * 32], [[[1.0] * 32]]])
def test_latents_of_the_wrong_kind_are_refused(client: TestClient, latents: Any) -> None:
    refused(client.post(url("decode"), json={"latents": latents}), 422)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, value: float) -> None:
    body = npy(np.full((1, 6), value))
    refused(client.post(url("encode", "signal"), content=body, headers=NPY), 422, "all must be finite")


def test_forms_with_other_fields_or_text_are_refused(client: TestClient) -> None:
    refused(client.post(url("encode"), files={"file": picture()}), 422, "a field 'file'; the only one is 'image'")
    text = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ncat.png\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(client.post(url("encode"), content=text, headers=headers), 422, "write @ before its path")
    refused(client.post(url("encode"), content=b"--x--\r\n", headers=headers), 422, "the form is empty")


def test_samples_of_several_sizes_are_refused(client: TestClient) -> None:
    files = [("image", picture(np.zeros((8, size, 3), np.uint8))) for size in (8, 12)]
    refused(client.post(url("denoise", "negative"), files=files), 422, "must have one shape")


def test_what_is_not_there_is_404_and_names_what_is(client: TestClient) -> None:
    refused(client.get("/v1/models/dog"), 404, "no model 'dog'; there are: negative, signal, small")
    refused(client.post(url("encode", "dog"), content=b""), 404, "there are: negative")
    refused(client.get("/v1/models/small/versions/7"), 404, "no version '7'; it has 1, 2")
    refused(client.post("/v1/models/small/versions/x/encode"), 404, "it has 1, 2")
    refused(client.post(url("dream")), 404, "there are encode, decode, reconstruct, denoise")
    refused(client.get("/nowhere"), 404, "the models are at /v1/models")
    refused(client.get(url("encode")), 405, "GET is not allowed")


def test_an_operation_that_the_package_does_not_have_is_409(client: TestClient) -> None:
    document = refused(client.post(url("denoise", "signal")), 409, "it has encode, decode, reconstruct")
    assert document["operations"] == ["encode", "decode", "reconstruct"]


def test_the_list_and_the_card_say_what_there_is(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert [m["name"] for m in listed["models"]] == ["negative", "signal", "small"]
    assert listed["refused"] == []
    card = client.get("/v1/models/small").json()
    assert card["versions"] == [1, 2]
    assert card["provider"] == "cpu"
    assert card["ports"]["image"] == {"dtype": "uint8", "shape": ["N", 28, 28, 1]}
    assert card["ports"]["latent"]["shape"] == ["N", 32]
    assert card["training"]["data"]["licence"] == "ours"
    assert client.get("/v1/models/small/versions/1").json()["version"] == 1
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_every_example_of_the_openapi_document_works(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for media, content in methods.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if "example" in content:
                target = path.replace("{name}", "small").replace("{version}", "1")
                response = client.post(target, json=content["example"], headers={"Content-Type": media})
                assert response.status_code == 200, (path, response.text)
                tried += 1
    assert tried == 8


def test_the_documentation_needs_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page
    script = page.split('<script src="')[1].split('"')[0]
    assert len(client.get(script).content) > 100_000


VALID = [
    ("image/png", picture()), ("image/jpeg", picture(form="JPEG")), ("image/webp", picture(form="WEBP")),
    ("image/tiff", picture(form="TIFF")), ("image/bmp", picture(form="BMP")), ("application/x-npy", npy(IMAGE)),
    ("application/json", b'{"inputs": [[1, 2], [3, 4]]}'), ("application/json", b'{"latents": [[1.5, 2]]}'),
    ("multipart/form-data; boundary=x",
     b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture() + b"\r\n--x--\r\n"),
]  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(VALID),
    st.sampled_from(["encode", "decode", "reconstruct", "denoise"]),
    st.sampled_from(["small", "signal", "negative"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_nothing_a_client_sends_gives_a_500(
    client: TestClient,
    valid: tuple[str, bytes],
    operation: str,
    model: str,
    flips: list[tuple[int, int]],
    cut: int | None,
) -> None:
    media, body = valid[0], bytearray(valid[1])
    for place, value in flips:
        body[place % len(body)] = value
    if cut is not None:
        body = body[: cut % len(body)]
    response = client.post(url(operation, model), content=bytes(body), headers={"Content-Type": media})
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


# --- time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["0", "-1", "601", "soon", "nan", "inf"])
def test_a_deadline_out_of_range_is_refused(client: TestClient, header: str) -> None:
    answer = client.post(
        url("encode"), content=picture(), headers={"Content-Type": "image/png", "Request-Deadline": header}
    )
    refused(answer, 422, f"Request-Deadline is '{header}'; allowed are seconds above 0, up to 600")


def test_a_request_that_is_not_done_in_its_time_is_504_and_leaves(client: TestClient) -> None:
    large = picture(np.random.default_rng(0).integers(0, 256, (900, 1000), dtype=np.uint8))
    headers = {"Content-Type": "image/png", "Request-Deadline": "0.001"}
    document = refused(client.post(url("encode") + "?fit=cover", content=large, headers=headers), 504, "0.001 seconds")
    assert document["title"] == "Deadline exceeded"
    assert client.app.state.admission.requests == 0  # type: ignore[attr-defined]
    headers["Request-Deadline"] = "60"
    assert client.post(url("encode") + "?fit=cover", content=large, headers=headers).status_code == 200


# --- bugs ------------------------------------------------------------------------------------------------


def test_a_bug_is_a_500_that_tells_nothing_and_a_trace_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(client.app.state.registry, "get", broken)  # type: ignore[attr-defined]
    answer = client.post(url("encode"), content=npy(IMAGE), headers=NPY)
    refused(answer, 500, "this is a bug of the service")
    assert "a secret" not in answer.text
    assert "RuntimeError: a secret" in caplog.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_operation_is_asked_by_post(client: TestClient, method: str) -> None:
    answer = client.request(method, url("encode"))
    refused(answer, 405, f"{method} is not allowed here; allowed is POST")
    assert answer.headers["allow"] == "POST"


def test_who_leaves_before_the_body_is_whole_is_no_error_of_ours(client: TestClient) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": url("encode"), "query_string": b"", "headers": [], "root_path": "",
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert client.app.state.admission.requests == 0  # type: ignore[attr-defined]
