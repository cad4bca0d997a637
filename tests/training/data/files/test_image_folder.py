"""Folders of pictures: a model learns from what the service makes of the same file; nothing is left out unsaid."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.errors import ServiceError
from service.model.files import image_samples
from tests.drawings import drawings
from tests.service import packages as doubles
from tests.service.http import served
from tests.training.data.sample_files import load_dataset, write_images
from training.data import labels
from training.data.files.image_folder import list_files, read_image_folder
from training.errors import DataError
from training.recipe import AutoencoderData

SIDE = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Models whose latents are all pixels / 255: grey and colour, and three that say how they were fitted."""
    models = tmp_path_factory.mktemp("models")
    for name, channels in (("grey", 1), ("colour", 3)):
        doubles.write(models, name, doubles.image_graphs(SIDE, SIDE, channels, SIDE * SIDE * channels))
    for fit in ("contain", "cover", "stretch"):
        doubles.write(models, fit, doubles.image_graphs(SIDE, SIDE, 1, SIDE * SIDE), fit=fit)
    with served(models) as client:
        yield client


def serve_pixels(service: TestClient, model: str, data: bytes, query: str = "") -> np.ndarray:
    response = service.post(f"/v1/models/{model}/encode{query}", files={"image": data})
    assert response.status_code == 200, response.text
    return np.asarray(np.rint(np.array(response.json()["latents"][0]) * 255), np.uint8)


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def picture_files() -> dict[str, bytes]:
    """Formats, depths, photometric interpretations, orientations: name -> bytes."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    deep = Image.fromarray(rng.integers(0, 65536, (SIDE, SIDE), np.uint16))
    alpha = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 4), np.uint8))
    return {
        "grey.png": encode(grey, "PNG"),
        "colour.png": encode(colour, "PNG"),
        "deep.png": encode(deep, "PNG"),
        "deep.tif": encode(deep, "TIFF"),
        "alpha.png": encode(alpha, "PNG"),
        "grey-alpha.png": encode(alpha.convert("LA"), "PNG"),
        "palette.png": encode(colour.quantize(16), "PNG"),
        "one-bit.png": encode(grey.convert("1"), "PNG"),
        "one-bit.tif": encode(grey.convert("1"), "TIFF"),
        "turned.jpg": encode(colour, "JPEG", exif=exif),
        "grey.jpg": encode(grey, "JPEG"),
        "cmyk.jpg": encode(colour.convert("CMYK"), "JPEG"),
        "cmyk.tif": encode(colour.convert("CMYK"), "TIFF"),
        "lossless.webp": encode(colour, "WEBP", lossless=True),
        "colour.bmp": encode(colour, "BMP"),
        "lzw.tif": encode(colour, "TIFF", compression="tiff_lzw"),
    }


@pytest.mark.parametrize("name", picture_files())
def test_training_learns_from_the_pixels_that_the_service_sees(tmp_path: Path, service: TestClient, name: str) -> None:
    data = picture_files()[name]
    (tmp_path / name).write_bytes(data)
    sample = read_image_folder(tmp_path, None, "contain", leave_out_damaged=False).samples[0]
    served_pixels = serve_pixels(service, "grey" if sample.shape[2] == 1 else "colour", data)
    assert np.array_equal(sample.ravel(), served_pixels)


@pytest.mark.parametrize("fit", ["contain", "cover", "stretch"])
@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (7, 5)])
def test_a_model_serves_pictures_fitted_as_it_was_trained(
    tmp_path: Path, service: TestClient, fit: str, shape: tuple[int, int]
) -> None:
    data = encode(Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, np.uint8)), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    sample = read_image_folder(tmp_path, SIDE, fit, leave_out_damaged=False).samples[0]  # type: ignore[arg-type]
    assert np.array_equal(sample.ravel(), serve_pixels(service, fit, data))
    assert np.array_equal(sample.ravel(), serve_pixels(service, "grey", data, f"?fit={fit}"))
    assert np.array_equal(serve_pixels(service, "cover", data, "?fit=stretch"), serve_pixels(service, "stretch", data))
    assert service.post("/v1/models/grey/encode", files={"image": data}).status_code == 422
    assert service.get(f"/v1/models/{fit}").json()["fit"] == fit


def test_the_dataset_says_how_its_pictures_were_fitted(tmp_path: Path) -> None:
    write_images(tmp_path, np.repeat(drawings(60), 2, axis=2))
    assert load_dataset(tmp_path, size=12).fit == "contain"
    assert load_dataset(tmp_path, size=12, fit="cover").fit == "cover"
    assert load_dataset(tmp_path).fit is None
    assert any("fit=contain" in remark for remark in load_dataset(tmp_path, size=12).remarks)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.png", encode(Image.new("L", (40, 40), 9), "PNG")[:60]),
        ("float.tif", encode(Image.fromarray(np.linspace(-500, 900, 144, dtype=np.float32).reshape(12, 12)), "TIFF")),
        ("empty.jpg", b""),
        ("words.png", b"not a picture"),
    ],
)
def test_what_the_service_refuses_is_refused_with_its_sentence_and_the_files_name(
    tmp_path: Path, name: str, data: bytes
) -> None:
    write_images(tmp_path, drawings(3))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ServiceError) as refusal:
        image_samples.read_pictures(data, name)
    with pytest.raises(DataError) as error:
        read_image_folder(tmp_path, None, "contain", leave_out_damaged=False)
    assert refusal.value.detail in str(error.value)
    assert "1 of 4 pictures cannot be used" in str(error.value)


def test_all_damaged_files_are_named_at_once_or_left_out_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(60))
    for number in (7, 20, 41):
        path = tmp_path / f"{number:03}.png"
        path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "050.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        load_dataset(tmp_path)
    assert "4 of 60 pictures cannot be used" in str(error.value)
    assert all(name in str(error.value) for name in ("007.png, 020.png, 041.png", "050.png", "data.leave_out_damaged"))
    data = load_dataset(tmp_path, leave_out_damaged=True)
    assert len(data.train) + len(data.validation) + len(data.test) == 56
    assert any(
        "007.png, 020.png, 041.png" in remark and "1 that cannot be used (050.png" in remark for remark in data.remarks
    )


def test_a_folder_of_nothing_but_damaged_files_stays_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="2 of 2 pictures cannot be used"):
        load_dataset(tmp_path, leave_out_damaged=True)


def test_files_that_are_no_pictures_here_are_counted_by_their_reason(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(60))
    (tmp_path / "060").write_bytes((tmp_path / "000.png").read_bytes())  # a picture without a suffix
    (tmp_path / "061.JPG").write_bytes(encode(Image.new("L", (12, 12)), "JPEG"))
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "small.png").write_bytes(b"thumbnail")
    (tmp_path / "Thumbs.db").write_bytes(b"")
    for number in range(2):
        (tmp_path / f"IMG_{number}.psd").write_bytes(b"8BPS")
    (tmp_path / "notes.txt").write_text("words")
    listing = list_files(tmp_path)
    assert len(listing.pictures) == 62
    assert sum(listing.left_out.values()) == 6
    text = listing.describe_left_out()
    assert "3 hidden or system files" in text
    assert "2 .psd files (IMG_0.psd is a PSD of Photoshop, which is not read here; save it as" in text
    assert "1 .txt files" in text
    assert text in load_dataset(tmp_path).remarks


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"8BPS")
    with pytest.raises(DataError, match=r"holds no picture .*left out: 1 \.psd files"):
        load_dataset(tmp_path)


def test_every_page_of_a_stack_is_a_sample(tmp_path: Path) -> None:
    pages = drawings(60)
    for number in range(12):
        first, *others = [Image.fromarray(page) for page in pages[5 * number : 5 * number + 5]]
        first.save(tmp_path / f"{number:03}.tif", save_all=True, append_images=others)
    data = load_dataset(tmp_path)
    samples = np.concatenate([data.train, data.validation, data.test])
    assert {sample.tobytes() for sample in samples} == {page.tobytes() for page in pages}
    assert "read: 60 pictures in 12 files, 12x12, grey" in data.remarks
    assert any(remark.startswith("60 samples: ") for remark in data.remarks)


def test_grey_pictures_among_colour_ones_are_colour_samples(tmp_path: Path) -> None:
    write_images(tmp_path, drawings(2))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)).save(tmp_path / "z.png")
    samples = read_image_folder(tmp_path, None, "contain", leave_out_damaged=False).samples
    assert samples.shape == (3, 12, 12, 3)
    assert np.array_equal(samples[0, :, :, 0], samples[0, :, :, 2])


@pytest.mark.parametrize("bits", [10, 12])
def test_pictures_of_few_bits_in_16_keep_their_levels(tmp_path: Path, bits: int) -> None:
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 1 << bits, (12, 12)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{number}.tif")
    data = load_dataset(tmp_path)
    levels = len(np.unique(np.concatenate([data.train, data.validation, data.test])))
    assert levels > 200


def write_classes(folder: Path, parts: dict[str, int]) -> Path:
    images = iter(drawings(sum(parts.values())))
    for part, count in parts.items():
        write_images(folder / part, np.stack([next(images) for _ in range(count)]))
    return folder


@pytest.mark.parametrize(
    ("parts", "classes"),
    [
        ({"cats": 40, "dogs": 30}, {"cats", "dogs"}),
        ({"cats/2024": 40, "cats/2025": 10, "dogs": 30}, {"cats", "dogs"}),
        ({"train/cats": 40, "train/dogs": 30, "test/cats": 9, "test/dogs": 9}, {"cats", "dogs"}),
        ({"cats": 40, "dogs": 30, ".": 1}, None),
        ({"cats": 70}, None),
        ({"train": 60, "test": 20}, None),
        ({str(i): 2 for i in range(40)}, None),
    ],
)
def test_subfolders_are_classes(tmp_path: Path, parts: dict[str, int], classes: set[str] | None) -> None:
    stored = read_image_folder(write_classes(tmp_path, parts), None, "contain", leave_out_damaged=False)
    assert (None if stored.labels is None else set(stored.labels.tolist())) == classes
    assert any("subfolders (" in remark for remark in stored.remarks) == (classes is not None)


def test_classes_stand_by_their_pictures_and_are_labels_of_a_classifier(tmp_path: Path) -> None:
    data = load_dataset(write_classes(tmp_path, {"cats": 60, "dogs": 40}))
    assert data.train_labels is not None
    assert data.test_labels is not None
    assert (len(data.train_labels), len(data.test_labels)) == (len(data.train), len(data.test))
    dogs = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "dogs").iterdir()}
    for image, label in zip(data.train, data.train_labels, strict=True):
        assert (image.tobytes() in dogs) == (label == "dogs")
    labelled = labels.load(AutoencoderData(source=str(tmp_path)))
    assert labelled.names == ("cats", "dogs")
    assert labelled.train.tolist() == [int(label == "dogs") for label in data.train_labels]
