"""Messages of libvips that quote bytes of a file."""

import sys
from types import SimpleNamespace

import pytest

from service.codecs.libvips import decode_text, pyvips


def test_messages_of_bytes_that_are_no_text_are_read() -> None:
    message = pyvips.ffi.new("char[]", b"tag \xe3\xff is unknown")
    assert decode_text(message) == "tag \ufffd\ufffd is unknown"
    assert decode_text(pyvips.ffi.NULL) == "NULL"
    assert decode_text(pyvips.ffi.new("char[]", "é".encode())) == "é"


def test_pyvips_reads_all_its_messages_so(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "pyvips"]
    functions = {module._to_string for module in modules if hasattr(module, "_to_string")}
    assert functions == {decode_text}
    message = pyvips.ffi.new("char[]", b"unknown \xe3")
    library = SimpleNamespace(vips_error_buffer=lambda: message, vips_error_clear=lambda: None)
    monkeypatch.setattr("pyvips.error.vips_lib", library)
    assert pyvips.Error("no picture").detail == "unknown \ufffd"
