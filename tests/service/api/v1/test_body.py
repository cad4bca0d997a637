"""Request bodies of /v1: pictures, forms, JSON, .npy."""

import asyncio
import base64
import gzip
import io
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.http import DRAWN, IMAGE, LATENT, NPY, npy, opened, picture, refused, url


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
    refused(client.post(url("denoise"), files=files, headers={"Accept": "image/png"}), 406, "3 images do not fit")


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
    image_response = client.post(url("decode"), content=npy(LATENT), headers={**NPY, "Accept": "image/png"})
    assert np.array_equal(opened(image_response.content), DRAWN)


def test_latents_of_another_version_or_model_are_refused(client: TestClient) -> None:
    encoded = client.post("/v1/models/small/versions/1/encode", files={"image": picture()}).json()
    assert encoded["version"] == 1
    refused(client.post(url("decode"), json=encoded), 409, "are of small version 1, this is small version 2")
    assert client.post("/v1/models/small/versions/1/decode", json=encoded).status_code == 200
    refused(client.post(url("decode"), json={**encoded, "model": "other"}), 409, "are of other")
    refused(client.post(url("decode"), json={**encoded, "version": "1"}), 422, "whole number")
    refused(client.post(url("decode"), json={**encoded, "operation": "denoise"}), 422, "operation must be 'encode'")


def test_415_lists_what_is_accepted(client: TestClient) -> None:
    response = client.post(url("encode"), content=b"x", headers={"Content-Type": "text/plain"})
    document = refused(response, 415, "text/plain is not accepted; accepted: image/png")
    assert "application/x-npy" in document["accepted"]
    assert "image/webp" in response.headers["accept-post"]


def test_forms_with_other_fields_or_text_are_refused(client: TestClient) -> None:
    refused(client.post(url("encode"), files={"file": picture()}), 422, "a field 'file'; the only one is 'image'")
    text = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ncat.png\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(client.post(url("encode"), content=text, headers=headers), 422, "write @ before its path")
    refused(client.post(url("encode"), content=b"--x--\r\n", headers=headers), 422, "the form is empty")


def test_who_leaves_before_the_body_is_whole_is_no_error_of_ours(client: TestClient) -> None:
    messages: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http", "method": "POST", "path": url("encode"), "query_string": b"", "headers": [], "root_path": "",
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert messages[0]["status"] == 400
    assert client.app.services.admission.requests == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content_type",
    ["image/x-png", "image/pjpeg", "image/*", "image/heic", "image/jpeg", "binary/octet-stream", "*/*", "",
     "application/octet-stream; charset=binary", "application/x-download", "image/png; charset=utf-8"],
)  # fmt: skip
def test_a_picture_is_known_by_its_first_bytes_whatever_its_media_type_says(
    client: TestClient, content_type: str
) -> None:
    response = client.post(url("encode"), content=picture(), headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    np.testing.assert_array_equal(np.float32(response.json()["latents"][0]), LATENT)


def test_a_known_format_is_named_by_any_way_it_comes(client: TestClient) -> None:
    jxl = b"\xff\x0a" + b"\0" * 40
    sentence = "is a JPEG XL, which is not read here; save it as PNG, TIFF or JPEG"
    for content_type in ("image/jxl", "application/octet-stream", "image/png", ""):
        refused(client.post(url("encode"), content=jxl, headers={"Content-Type": content_type}), 415, sentence)
    refused(client.post(url("encode"), files={"image": jxl}), 415, f"image {sentence}")
    refused(client.post(url("encode"), json={"inputs": base64.b64encode(jxl).decode()}), 415, f"inputs {sentence}")


def test_an_empty_picture_is_called_empty_by_any_way_it_comes(client: TestClient) -> None:
    for content_type in ("image/png", "application/octet-stream", "image/whatever", ""):
        headers = {"Content-Type": content_type}
        refused(
            client.post(url("encode"), content=b"", headers=headers), 422, "the body is empty; an image is expected"
        )
    refused(client.post(url("encode"), files={"image": ("a.png", b"")}), 422, "image is empty: the file has 0 bytes")
    files: Any = [("image", picture()), ("image", ("b.png", b""))]
    refused(client.post(url("encode"), files=files), 422, "image 2 of 2 is empty")
    refused(client.post(url("encode"), json={"inputs": ""}), 422, "inputs is empty")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br"])
@pytest.mark.parametrize("content_type", ["image/png", "application/json", "application/x-npy"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(
    client: TestClient, content_type: str, encoding: str
) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    response = client.post(url("encode"), content=gzip.compress(picture()), headers=headers)
    refused(response, 415, f"Content-Encoding {encoding!r}, which is not accepted; send it uncompressed")
    assert response.headers["accept-encoding"] == "identity"
    assert "accept-post" not in response.headers


def test_a_body_that_says_it_is_not_compressed_is_taken(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "Identity"}
    assert client.post(url("encode"), content=picture(), headers=headers).status_code == 200


def test_a_media_type_that_says_nothing_is_not_called_missing(client: TestClient) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    document = refused(client.post(url("encode"), content=b"hello, world", headers=headers), 415)
    assert "application/octet-stream does not say what the body is" in document["detail"]
    refused(client.post(url("encode"), content=b"hello", headers={"Content-Type": ""}), 415, "has no Content-Type")
