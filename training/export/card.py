"""The model card: README.md of a package. What it is, how good, on which data, where it fails, how to make it again."""

from collections.abc import Mapping

from service.model.manifest import Manifest, Metric


def render(facts: Manifest, pictures: Mapping[str, str], notes: str, parity: str) -> str:
    """Markdown.

    Args:
        pictures: file name in the package -> caption.
        notes: paragraphs that say what a reader should know of the numbers; may be empty.
        parity: one sentence on how far onnxruntime is from torch.
    """
    data, training = facts.training.data, facts.training
    lines = [
        f"# {facts.name}, version {facts.version}",
        "",
        facts.description,
        "",
        *_images(pictures),
        "## Measured",
        "",
        f"On the {data.test} held-out {'samples' if facts.halo is None else 'images'} of the test split, "
        "which nothing was chosen on.",
        "",
        *_tables(facts.evaluation),
        *([notes.strip(), ""] if notes.strip() else []),
        f"Parity: {parity}",
        "",
        "## Use",
        "",
        "```sh",
        *_commands(facts),
        "```",
        "",
        *_beside(facts),
        "## Data and licence",
        "",
        f"{data.source}: {data.train} training, {data.validation} validation, {data.test} test samples. "
        f"Licence of the data: {data.licence}. The weights were trained from scratch on these data alone.",
        "",
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


def _beside(facts: Manifest) -> list[str]:
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


def _images(pictures: Mapping[str, str]) -> list[str]:
    return [line for file, caption in pictures.items() for line in (f"![{caption}]({file})", "", f"*{caption}*", "")]


def _tables(evaluation: Mapping[str, Metric]) -> list[str]:
    """A table for each unit and set of baselines, a row for each metric."""
    groups: dict[tuple[str, tuple[str, ...]], dict[str, Metric]] = {}
    for name, metric in evaluation.items():
        groups.setdefault((metric.unit, tuple(metric.baselines)), {})[name] = metric
    lines: list[str] = []
    for (unit, baselines), metrics in groups.items():
        columns = [unit, "this model", *baselines]
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for name, metric in metrics.items():
            numbers = [_number(value, unit) for value in (metric.value, *metric.baselines.values())]
            lines.append("| " + " | ".join([name.replace("_", " "), f"**{numbers[0]}**", *numbers[1:]]) + " |")
        lines.append("")
    return lines


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "dB" else f"{value:.4g}"


def _commands(facts: Manifest) -> list[str]:
    url = f"localhost:8000/v1/models/{facts.name}"
    if facts.operations == ("denoise",):
        return [f"curl -F image=@scan.png {url}/denoise -o clean.png"]
    image = "reconstruction_psnr" in facts.evaluation
    body = "-F image=@cat.png" if image else "-H 'Content-Type: application/x-npy' --data-binary @samples.npy"
    lines = [f"curl {body} {url}/encode"]
    if image:
        lines.append(f"curl {body} {url}/reconstruct -o reconstruction.png")
        if "denoise" in facts.operations:
            lines.append(f"curl {body} {url}/denoise -o clean.png")
    else:
        lines.append(f"curl {body} -H 'Accept: application/json' {url}/reconstruct")
    return lines
