"""Colour spaces of PNG and AVIF become ICC profiles that another colour engine, LittleCMS, applies as it should."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.codecs.image_formats import colour

SHADES = np.array([[0, 16, 64, 128, 200, 255]], np.uint8)


def to_srgb(profile: bytes, channels: int = 3, colours: np.ndarray | None = None) -> np.ndarray:
    """uint8 [1,N,3]: shades (or colours) with a profile, in sRGB."""
    pixels = SHADES if channels == 1 else np.dstack([SHADES] * 3)
    image = Image.fromarray(pixels if colours is None else colours)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(converted)


def srgb_number(light: np.ndarray) -> np.ndarray:
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 1 / 2.6])
def test_a_gamma_means_what_the_chunk_says(channels: int, gamma: float) -> None:
    profile = colour.to_profile({"gAMA": struct.pack(">I", round(gamma * 100_000))}, channels)
    assert profile is not None
    expected = srgb_number((SHADES[0] / 255) ** (1 / gamma))
    np.testing.assert_allclose(to_srgb(profile, channels)[0, :, 0], expected, atol=1)


def test_primaries_of_display_p3_are_wider_than_srgb() -> None:
    profile = colour.to_profile({"cICP": bytes([12, 13, 0, 1])}, 3)
    assert profile is not None
    np.testing.assert_allclose(to_srgb(profile)[0, :, 0], SHADES[0], atol=1)
    red = np.array([[[234, 51, 35]]], np.uint8)  # sRGB's red in Display P3
    np.testing.assert_allclose(to_srgb(profile, colours=red)[0, 0], [255, 0, 0], atol=3)


def test_chromaticities_of_a_chunk_are_those_of_the_profile() -> None:
    p3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    profile = colour.to_profile({"gAMA": struct.pack(">I", 45455), "cHRM": p3}, 3)
    assert profile is not None
    red = np.array([[[234, 51, 35]]], np.uint8)
    np.testing.assert_allclose(to_srgb(profile, colours=red)[0, 0], [255, 0, 0], atol=4)


def test_perceptual_quantizer_has_its_code_points_in_the_profile() -> None:
    profile = colour.to_profile({"cICP": bytes([9, 16, 0, 1])}, 3)
    assert profile is not None
    assert b"cicp\0\0\0\0\x09\x10\0\x01" in profile
    shades = to_srgb(profile)[0, :, 0]
    assert shades[0] == 0
    assert shades[-1] == 255
    assert shades[3] < 40  # half of the numbers are 1 % of the light


@pytest.mark.parametrize(
    "chunks",
    [
        {"sRGB": b"\0", "gAMA": struct.pack(">I", 100_000)},
        {"gAMA": struct.pack(">I", 45455)},
        {"cICP": bytes([1, 13, 0, 1]), "gAMA": struct.pack(">I", 100_000)},
        {"gAMA": b"\0\0\0\0"},
        {"cHRM": b"\0" * 32},
        {"gAMA": struct.pack(">I", 45455), "cHRM": struct.pack(">8I", *[30000] * 8)},
        {"cICP": bytes([2, 2, 0, 1])},
        {},
    ],
    ids=["sRGB", "gamma of sRGB", "points of sRGB", "no gamma", "no white", "no triangle", "unspecified", "nothing"],
)
def test_what_means_srgb_or_nothing_needs_no_profile(chunks: dict[str, bytes]) -> None:
    assert colour.to_profile(chunks, 3) is None


def test_code_points_that_mean_srgb_are_no_chunk() -> None:
    assert colour.code_points_to_chunks(1, 13) == colour.code_points_to_chunks(2, 2) == {}
    assert colour.code_points_to_chunks(9, 18) == {"cICP": b"\x09\x12\0\x01"}
