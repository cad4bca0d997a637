"""Options of the commands on files: `denoise`, `encode`, `decode`, `reconstruct`, `sample`.

argparse.Namespace -> FileOptions.from_arguments -> files | ray_batch
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Self

from service.api.query import PARAMETERS

FileOperation = Literal["denoise", "encode", "decode", "reconstruct", "sample"]

PIPE = "-"  # as an input standard input, as the output standard output
RAY_MISSING = "--engine ray needs an extra: pip install 'autoencoder-service[ray]'"

_METAVARS: dict[FileOperation, tuple[str | None, str]] = {
    "decode": (
        "latents.npy, latents.csv or .parquet",
        "FILE.png, FILE.npy, FILE.csv, FILE.parquet or a FOLDER of images",
    ),
    "encode": (
        "image files, folders, globs, @LIST of files, an .npy, a .csv, a .parquet, or - for standard input",
        "FILE.npy, whose list is FILE.txt; FILE.csv or FILE.parquet; - for standard output",
    ),
    "reconstruct": (
        "image files, folders, globs, @LIST of files, a .csv, a .parquet, or - for standard input",
        "FILE.csv; of a table FILE.parquet too; - for standard output",
    ),
    "denoise": (
        "image files, PDFs, folders, globs, @LIST of files, or - for standard input",
        "FILE, FOLDER, or - for standard output",
    ),
    "sample": (None, "FILE.png (of several: side by side), FILE.npy, a FOLDER of images, or - for standard output"),
}


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The options of one command on files; an operation that lacks an option has its default.

    `model`: None is the only model that can do the operation. `model_version`: None is the default version.
    `url`: a running service; None opens the models in this process. `chunk`: files in one record of the engine ray.
    """

    operation: FileOperation
    inputs: tuple[str, ...]
    output: str
    model: str | None = None
    model_version: int | None = None
    url: str | None = None
    key: str | None = None
    strength: float = 1
    dpi: int | None = None
    bits: int | None = None
    white: float | None = None
    figures: Literal["keep", "clean"] | None = None
    again: bool = False
    json: bool = False
    engine: Literal["here", "ray"] = "here"
    chunk: int = 256
    fit: str | None = None
    images: Path | None = None
    false_alarm_rate: float | None = None
    explain: Literal["heatmap"] | None = None
    count: int = 1
    seed: int | None = None

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Self:
        """The options in what a parser with `add_file_arguments` returned, which also holds `operation`."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in vars(arguments).items() if name in names}
        return cls(**{**values, "inputs": tuple(getattr(arguments, "inputs", ()))})


def add_file_arguments(parser: argparse.ArgumentParser, operation: FileOperation) -> None:
    """Add the arguments that the operation takes."""
    inputs, output = _METAVARS[operation]
    if inputs is not None:
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=inputs)
    parser.add_argument("-o", "--output", required=True, metavar="OUTPUT", help=output)
    parser.add_argument("--model", metavar="NAME", help="required if several models can do it")
    parser.add_argument("--model-version", type=int, metavar="N", help="default: the newest")
    parser.add_argument("--url", help="use the service that runs there, and open no models here")
    parser.add_argument("--key", help="its API key, if it requires one (default: the environment's AUTOENCODER_KEY)")
    if operation == "denoise":
        strength = PARAMETERS["strength"].schema
        parser.add_argument(
            "--strength",
            type=float,
            default=strength["default"],
            metavar=f"{strength['minimum']}..{strength['maximum']}",
            help="1 cleans all (default), 0 nothing, 2 twice",
        )
        parser.add_argument("--dpi", type=int, metavar="N", help="dots per inch of a PDF's pages (default 300)")
        parser.add_argument(
            "--bits",
            type=int,
            choices=PARAMETERS["bits"].schema["enum"],
            help="of a channel in the result: 1 is black and white, 4 is 16 grey levels (default: those of the file)",
        )
        parser.add_argument(
            "--white", type=float, metavar="N", help="value of white, e.g. 4095 of 12 bits (default: it is found)"
        )
        parser.add_argument(
            "--figures",
            choices=PARAMETERS["figures"].schema["enum"],
            help="of models of pages: keep photographs and other figures as they are (default), or clean all",
        )
        parser.add_argument("--again", action="store_true", help="process files again whose output is up to date")
        parser.add_argument("--json", action="store_true", help="a line of JSON for each file on standard output")
    if operation == "sample":
        seed = PARAMETERS["seed"].schema
        parser.add_argument("--count", type=int, default=1, metavar="N", help="how many samples (default 1)")
        parser.add_argument(
            "--seed",
            type=int,
            metavar="N",
            help=f"draws the same samples again; {seed['minimum']} to {seed['maximum']} (default: others each time)",
        )
    if operation in ("denoise", "encode"):
        parser.add_argument(
            "--engine",
            choices=("here", "ray"),
            default="here",
            help="ray: on all machines of a Ray cluster (extra `ray`), a record of each file below OUTPUT/records",
        )
        parser.add_argument("--chunk", type=int, default=256, metavar="N", help="ray: files of a record (default 256)")
    if operation in ("encode", "reconstruct"):
        parser.add_argument("--fit", choices=PARAMETERS["fit"].schema["enum"], help="resize to the model's size")
    if operation == "reconstruct":
        rate = PARAMETERS["false_alarm_rate"].schema
        parser.add_argument("--images", type=Path, metavar="FOLDER", help="write the reconstructions there too")
        parser.add_argument(
            "--false-alarm-rate",
            type=float,
            metavar="RATE",
            help="add a column `unusual`, true for that share of files like those that the model was tested on; "
            f"{rate['minimum']} to {rate['maximum']}",
        )
        parser.add_argument(
            "--explain",
            choices=PARAMETERS["explain"].schema["enum"],
            help="instead of errors, where each file has them: -o is FILE.png, FILE.npy or a FOLDER",
        )
