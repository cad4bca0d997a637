"""Options of `autoencoder-train import`, and the lines that it prints and puts on the model card."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from service.model.manifest import Imported, LatentScaling, Samples
from training.errors import ImportRefused
from training.export import provenance
from training.importing.foreign_graph import ForeignGraph
from training.importing.probes.pixel_format import RANGES, Range, parse_range
from training.importing.probes.ports import parse_constants
from training.importing.samples import Photos, SampleSet


@dataclass
class Report:
    """What was found or assumed: printed as it is found, and kept for the model card."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)
            print(line, flush=True)  # noqa: T201


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a model from elsewhere; everything else is found.

    Args:
        out: the model's folder, whose name is the model's name.
        words: the options as they were given, for the manifest, without folders.
        target_range: of the output; None: as the input.
        first_outputs: names of outputs that are used.
        halo: forces tiles that overlap by so many pixels, of a graph that looks at whole images.
        max_pixels: largest image on which the memory of whole images is measured; None: as far as that is quick.
        is_unchecked: what comes out need not look like what went in.
        is_residual: a denoiser's output is the noise, which is subtracted.
        features: of a latent, if further numbers follow them.
        scaling: of latents, as the configuration of a diffusion model's autoencoder says it.
    """

    out: Path
    words: tuple[str, ...] = ()
    denoiser: Path | None = None
    encoder: Path | None = None
    decoder: Path | None = None
    torch: str | None = None
    saelens: Path | None = None
    diffusers: Path | None = None
    weights: Path | None = None
    input_shape: tuple[int, ...] | None = None
    samples: Path | None = None
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    range: Range | None = None
    target_range: Range | None = None
    order: str | None = None
    noise_map: float | None = None
    halo: int | None = None
    max_pixels: int | None = None
    has_fixed_size: bool = False
    is_unchecked: bool = False
    is_residual: bool = False
    licence: str = "not stated"
    samples_licence: str = "not stated"
    description: str | None = None
    features: int | None = None
    scaling: LatentScaling | None = None
    report: Report = field(default_factory=Report)

    def make_provenance(self, graphs: Sequence[ForeignGraph], data: SampleSet | Photos | None = None) -> Imported:
        """The manifest's section `imported`: files, options, assumptions, and what it was measured on."""
        facts = None
        if data is not None and self.samples is not None:
            facts = Samples(
                source=self.samples.name,
                licence=self.samples_licence,
                reference=len(data.reference),
                test=len(data.test),
            )
        files = {name: digest for graph in graphs for name, digest in graph.files.items()}
        return provenance.import_facts(files, self.words, self.report.lines, self.licence, facts)


def parse(words: Sequence[str]) -> ImportOptions:
    """Raises ImportRefused for options that do not go together."""
    parser = _parser()
    chosen = parser.parse_args(_join_ranges(words))
    sources = [chosen.denoiser, chosen.encoder or chosen.decoder, chosen.torch, chosen.saelens, chosen.diffusers]
    if sum(source is not None for source in sources) != 1:
        raise ImportRefused(
            "give one of --denoiser FILE, --encoder FILE and --decoder FILE, --torch module.py:build, "
            "--saelens FOLDER, --diffusers FOLDER"
        )
    if (chosen.torch is None) != (chosen.input is None):
        raise ImportRefused(
            "--torch needs --input, the shape of one sample (3x64x64, or 784), and --input needs --torch"
        )
    if chosen.weights is not None and chosen.torch is None:
        raise ImportRefused("--weights is for --torch module.py:build")
    if chosen.residual and chosen.denoiser is None and chosen.torch is None:
        raise ImportRefused("--residual is for denoisers")
    if chosen.out is None:
        raise ImportRefused("give --out models/NAME: where the package goes, and what the model is called")
    if chosen.samples is not None and not chosen.samples.exists():
        raise ImportRefused(f"--samples {chosen.samples}: there is no such file or folder")
    return ImportOptions(
        out=chosen.out, words=_without_folders(words), denoiser=chosen.denoiser, encoder=chosen.encoder,
        decoder=chosen.decoder, torch=chosen.torch, saelens=chosen.saelens, diffusers=chosen.diffusers,
        weights=chosen.weights, input_shape=_parse_shape(chosen.input),
        samples=chosen.samples, constants=parse_constants(chosen.constant), outputs=tuple(chosen.output),
        range=None if chosen.range is None else parse_range(chosen.range),
        target_range=None if chosen.output_range is None else parse_range(chosen.output_range),
        order=chosen.order, noise_map=chosen.noise_map, halo=chosen.halo, max_pixels=chosen.max_pixels,
        has_fixed_size=chosen.fixed_size, is_unchecked=chosen.unchecked, is_residual=chosen.residual,
        licence=chosen.licence, samples_licence=chosen.samples_licence, description=chosen.description,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoencoder-train import",
        description="A model that exists becomes a package that the service serves: an ONNX graph, or a torch module. "
        "Ports, layout, range, stride and reach are found by reading and running it; what was assumed is printed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--denoiser", type=Path, metavar="FILE", help="ONNX graph, picture -> picture of the same size")
    add("--encoder", type=Path, metavar="FILE", help="ONNX graph, sample -> latent")
    add("--decoder", type=Path, metavar="FILE", help="ONNX graph, latent -> sample")
    add("--torch", metavar="module.py:build", help="a function that returns a torch module; its code is run")
    add("--saelens", type=Path, metavar="FOLDER", help="a sparse autoencoder, as SAELens saves it")
    add("--diffusers", type=Path, metavar="FOLDER", help="AutoencoderKL or AutoencoderTiny, as diffusers saves it")
    add("--weights", type=Path, metavar="FILE", help="safetensors for the module of --torch")
    add("--input", metavar="CxHxW", help="shape of one sample of --torch: 3x64x64, or 784")
    add("--out", type=Path, metavar="FOLDER", help="the model's folder, such as models/mine")
    add("--samples", type=Path, metavar="DATA", help="folder of pictures, .npy, .npz or CSV to measure it on")
    add("--constant", action="append", default=[], metavar="NAME=VALUE", help="value of a further input, or an .npy")
    add("--output", action="append", default=[], metavar="NAME", help="of several outputs the one that is used")
    add("--range", metavar="RANGE", help=f"of its pixels: {', '.join(RANGES)}, or MEAN/DEVIATION of pixels in 0..1")
    add("--output-range", metavar="RANGE", help="of the pixels that come out, if it differs")
    add("--order", choices=("rgb", "bgr"), help="of the channels; default: rgb, unless samples show otherwise")
    add("--noise-map", type=float, metavar="LEVEL", help="value of an input channel beside the picture's")
    add("--residual", action="store_true", help="the denoiser answers the noise, which is subtracted; else by trial")
    add("--halo", type=_whole_number, metavar="N", help="force tiles, which overlap by N pixels and are blended")
    add("--max-pixels", type=_whole_number, metavar="N",
        help="largest image on which the memory of whole images is measured, however long it takes")  # fmt: skip
    add("--fixed-size", action="store_true", help="import a denoiser that takes one size only")
    add("--unchecked", action="store_true", help="import it though what comes out does not look like what went in")
    add("--licence", default="not stated", metavar="TEXT", help="of the weights")
    add("--samples-licence", default="not stated", metavar="TEXT", help="of the samples")
    add("--description", metavar="TEXT", help="one sentence for the manifest")
    return parser


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _parse_shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sizes = text.lower().split("x")
    if len(sizes) not in (1, 3) or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ImportRefused(
            f"--input {text}: give channels x height x width, such as 3x64x64, or a length, such as 784"
        )
    return tuple(int(size) for size in sizes)


def _join_ranges(words: Sequence[str]) -> list[str]:
    """`--range -1..1` as `--range=-1..1`, since argparse takes a word that begins with a dash for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--range", "--output-range", "--noise-map") and not word.startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _without_folders(words: Sequence[str]) -> tuple[str, ...]:
    """The words with files by their names alone: a package does not tell where it was made."""
    return tuple(
        Path(word).name if "/" in word and not word.startswith("-") and "=" not in word else word for word in words
    )
