"""Cost of work, in nanoseconds of one core: decides between the event loop and a worker thread.

bytes, pixels, numbers x nanoseconds of each -> cost -> is_inline: on the event loop, else in a worker thread

A hand-off to a thread and back takes 0.1 ms while the event loop is idle, and up to 5 ms (Python's switch interval)
while it is busy. The figures are rounded from measurements on a shared core; most work costs less.
"""

INLINE_NS = 1 << 19  # 0.5 ms

JSON_BYTE = 32  # to parse and check one byte of JSON, or of a form
CSV_BYTE = 256  # to read one byte of CSV, or to write one byte of numbers as CSV
IMAGE_BYTE = 64  # to read an image's header, for each byte of its file: formats other than PNG are opened for it
PIXEL = 128  # to decode one pixel of an image, or to encode one byte of pixels
NUMBER = 8  # to check and convert one number of an array
CHOSEN_NUMBER = 32  # to choose the largest of an array, for each number that it has
COPIED_BYTE = 2  # to write one byte of an array as .npy, into fresh memory


def is_inline(nanoseconds: float) -> bool:
    """Whether work of that cost is done on the event loop."""
    return nanoseconds <= INLINE_NS
