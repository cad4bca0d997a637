import numpy as np
import pytest

from service.imaging.contact_sheet import make_contact_sheet


@pytest.mark.parametrize(("count", "shape"), [(1, (2, 3, 1)), (2, (2, 6, 1)), (5, (4, 9, 1)), (9, (6, 9, 1))])
def test_pictures_lie_row_by_row_in_a_near_square(count: int, shape: tuple[int, ...]) -> None:
    pictures = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None] * np.ones((2, 3, 1), np.uint8)
    sheet = make_contact_sheet(pictures)
    assert sheet.shape == shape
    assert sheet.dtype == np.uint8
    corners = sheet[::2, ::3, 0].flatten().tolist()
    assert corners[:count] == list(range(1, count + 1))
    assert set(corners[count:]) <= {0}
