"""Options of the commands on files, from arguments to the frozen dataclass."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from service.cli.file_options import FileOptions
from service.cli.main import FILE_COMMANDS, build_parser


def parse(*arguments: str) -> FileOptions:
    return FileOptions.from_arguments(build_parser().parse_args(arguments))


@pytest.mark.parametrize("operation", FILE_COMMANDS)
def test_every_command_on_files_has_the_same_defaults(operation: str) -> None:
    inputs = () if operation == "sample" else ("a", "b")
    options = parse(operation, *inputs, "-o", "out")
    assert options == FileOptions(operation=options.operation, inputs=inputs, output="out")
    assert options.operation == operation


def test_every_option_is_taken_over() -> None:
    options = parse(
        "denoise", "a", "-o", "out", "--model", "m", "--model-version", "3", "--url", "http://x", "--key", "k",
        "--strength", "0.5", "--dpi", "150", "--again", "--json", "--engine", "ray", "--chunk", "9",
    )  # fmt: skip
    assert options == FileOptions(
        operation="denoise", inputs=("a",), output="out", model="m", model_version=3, url="http://x", key="k",
        strength=0.5, dpi=150, again=True, json=True, engine="ray", chunk=9,
    )  # fmt: skip
    options = parse("reconstruct", "a", "-o", "o", "--fit", "cover", "--images", "i", "--false-alarm-rate", "0.1",
                    "--explain", "heatmap")  # fmt: skip
    assert (options.fit, options.images, options.false_alarm_rate, options.explain) == (
        "cover", Path("i"), 0.1, "heatmap",
    )  # fmt: skip
    options = parse("sample", "-o", "o", "--count", "7", "--seed", "3")
    assert (options.count, options.seed) == (7, 3)


def test_options_are_frozen_and_can_be_sent_to_a_worker() -> None:
    options = parse("encode", "a", "-o", "out")
    assert pickle.loads(pickle.dumps(options)) == options
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.model = "other"  # type: ignore[misc]
