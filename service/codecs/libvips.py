"""libvips, set up: one thread, no cache, and no readers but those of IMAGE_FORMATS.

All modules of the service take `pyvips` from here, so that it is set up before it is used.
"""

import logging
import os
import sys
from typing import Any

from service.codecs.formats import IMAGE_FORMATS
from service.codecs.image_formats import jpeg

os.environ["VIPS_CONCURRENCY"] = "1"  # before the import: requests run side by side, not the parts of one
os.environ["VIPS_WARNING"] = "0"  # damaged metadata of images that read well; nobody here can act on it
os.environ["LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER"] = str(jpeg.SCANS_OF_LARGEST)  # of a strip in a TIFF

import pyvips

__all__ = ["pyvips"]


def decode_text(pointer: Any) -> str:
    """A C string as text, bytes that are no UTF-8 as "\ufffd": messages and metadata quote what a file holds.

    pyvips's own function raises UnicodeDecodeError there, in place of its error, and in the callback that logs.
    """
    if pointer == pyvips.ffi.NULL:
        return "NULL"
    text = pyvips.ffi.string(pointer)
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


for _module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "pyvips"]:
    if hasattr(_module, "_to_string"):
        _module._to_string = decode_text  # type: ignore[attr-defined]

# Every image is read once: nothing to cache.
pyvips.cache_set_max(0)
pyvips.operation_block_set("VipsForeignLoad", True)
for _format in IMAGE_FORMATS:
    if _format.loader_class:
        pyvips.operation_block_set(f"VipsForeignLoad{_format.loader_class}Source", False)
logging.getLogger("pyvips").setLevel(logging.ERROR)
