"""The model card, README.md of a package: description, figures, measurements, usage, data and licence, provenance.

manifest, captions of the figures, notes, parity -> Markdown
"""

from collections.abc import Mapping, Sequence

from service.model.manifest import Manifest, Metric

Credit = tuple[str, str, str, str]
"""A source of training images, how many they are, their licences, their authors."""


def render(
    facts: Manifest,
    captions: Mapping[str, str],
    notes: str,
    parity: str,
    credit_table: Sequence[Credit] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        captions: file name of a figure in the package -> caption.
        notes: paragraphs that explain the numbers; may be empty.
        parity: one sentence on how far onnxruntime's answers are from torch's.
        remarks: what was read of the data, and what was left out.
        credit_table: of data with many authors: a row for each source.
    """
    data, training = facts.training.data, facts.training
    lines = [
        f"# {facts.name}, version {facts.version}",
        "",
        facts.description,
        "",
        *(["**Falls short.**", "", *(f"- {line}" for line in facts.shortfalls), ""] if facts.shortfalls else []),
        *_image_lines(captions),
        "## Measured",
        "",
        f"On the {data.test} held-out {'samples' if facts.halo is None else 'images'} of the test split, "
        "which nothing was chosen on.",
        "",
        *_table_lines(facts.evaluation),
        *([notes.strip(), ""] if notes.strip() else []),
        f"Parity: {parity}",
        "",
        "## Use",
        "",
        "```sh",
        *_command_lines(facts),
        "```",
        "",
        *_comparison_lines(facts),
        "## Data and licence",
        "",
        f"{data.source}: {data.train} training, {data.validation} validation, {data.test} test samples. "
        f"Licence of the data: {data.licence}. The weights were trained from scratch on these data alone.",
        "",
        *([f"- {remark}" for remark in remarks] + [""] if remarks else []),
        *_credit_lines(credit_table),
        "## Made by",
        "",
        f"Recipe `{training.recipe}` (SHA-256 {training.recipe_sha256[:12]}...), seed {training.seed}, "
        f"{training.date}, code {training.code_revision}, "
        + ", ".join(f"{k} {v}" for k, v in training.versions.items())
        + ".",
        "",
        "```sh",
        f"autoencoder-train {training.recipe}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _credit_lines(credit_table: Sequence[Credit]) -> list[str]:
    if not credit_table:
        return []
    rows = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in credit_table]
    return ["| source | images | licences | authors |", "|---|---|---|---|", *rows, ""]


def _comparison_lines(facts: Manifest) -> list[str]:
    if "reconstruct" not in facts.operations:
        return []
    return [
        "## Beside others",
        "",
        "Error against the size of the latent, with PCA's curve, and against cost, beside packages of the same data:",
        "",
        "```sh",
        f"autoencoder-train compare models/{facts.name} models/ANOTHER",
        "```",
        "",
    ]


def _image_lines(captions: Mapping[str, str]) -> list[str]:
    return [line for file, caption in captions.items() for line in (f"![{caption}]({file})", "", f"*{caption}*", "")]


def _table_lines(evaluation: Mapping[str, Metric]) -> list[str]:
    """A table for each unit and set of baselines, a row for each metric."""
    groups: dict[tuple[str, tuple[str, ...]], dict[str, Metric]] = {}
    for name, metric in evaluation.items():
        groups.setdefault((metric.unit, tuple(metric.baselines)), {})[name] = metric
    lines: list[str] = []
    for (unit, baselines), metrics in groups.items():
        columns = [unit, "this model", *baselines]
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for name, metric in metrics.items():
            numbers = [_format_number(value, unit) for value in (metric.value, *metric.baselines.values())]
            lines.append("| " + " | ".join([name.replace("_", " "), f"**{numbers[0]}**", *numbers[1:]]) + " |")
        lines.append("")
    return lines


def _format_number(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "dB" else f"{value:.4g}"


def _command_lines(facts: Manifest) -> list[str]:
    """A curl command for each operation on files."""
    url = f"localhost:8000/v1/models/{facts.name}"
    if facts.operations == ("denoise",):
        return [f"curl -F image=@scan.png {url}/denoise -o clean.png"]
    is_image = "reconstruction_psnr" in facts.evaluation
    body = "-F image=@cat.png" if is_image else "-H 'Content-Type: application/x-npy' --data-binary @samples.npy"
    lines = [f"curl {body} {url}/encode"]
    if is_image:
        lines.append(f"curl {body} {url}/reconstruct -o reconstruction.png")
        if "denoise" in facts.operations:
            lines.append(f"curl {body} {url}/denoise -o clean.png")
    else:
        lines.append(f"curl {body} -H 'Accept: application/json' {url}/reconstruct")
    return lines
