"""A payload knows its images and its size."""

import numpy as np

from service.inference.payload import Payload, PayloadPart


def test_encoded_images_are_told_from_arrays_and_all_bytes_are_counted() -> None:
    image, array = PayloadPart(b"12345", "image 1"), PayloadPart(np.zeros((2, 3), np.float32), "image 2")
    payload = Payload((image, array), "json")
    assert payload.images == (image,)
    assert payload.size == 5 + 24
