"""Options of one inference request. service.api.query parses them."""

from dataclasses import dataclass
from typing import Literal

from service.imaging.bit_depth import Bits
from service.imaging.resize import Fit

Explain = Literal["heatmap"]
Figures = Literal["keep", "clean"]
Latents = Literal["scaled"]
Report = Literal["progress", "pages"]


@dataclass(frozen=True)
class Options:
    """What a request can choose.

    Args:
        fit: how an image is resized to the model's size; None: as the manifest says, or it must have that size.
        strength: share of the denoiser's correction that is applied, 0 (none) to 1 (all); above 1, at most 2, the
            result is denoised again, and strength - 1 is the share of that second correction.
        dpi: dots per inch at which a PDF's pages are rendered; None: the service's setting.
        white: the value of white in a picture's pixels; None: it is found (service.imaging.value_range).
        bits: of a channel in the result (service.imaging.bit_depth); None: as many as the input has.
        explain: the result is a heatmap of the reconstruction error.
        count, seed: of `sample`: how many (None: one), and what they are drawn from (None: the service chooses).
        figures: of models of pages, whether photographs and other figures stay as they are; None: they do.
        latents: "scaled": as a diffusion model takes them (service.model.manifest.LatentScaling).
        top: of a latent only so many numbers, the largest, are answered, with their indices (model.measures.sparse).
        report: of an answer in NDJSON, further lines: how far the work is, and with "pages" each page as it is ready.
        false_alarm_rate: the result has a verdict for each sample at this rate (Model.unusual_threshold).
    """

    fit: Fit | None = None
    strength: float = 1.0
    dpi: int | None = None
    white: float | None = None
    bits: Bits | None = None
    figures: Figures | None = None
    explain: Explain | None = None
    false_alarm_rate: float | None = None
    count: int | None = None
    seed: int | None = None
    latents: Latents | None = None
    top: int | None = None
    report: Report | None = None


DEFAULT = Options()
