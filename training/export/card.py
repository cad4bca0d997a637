"""The model card, README.md of a package: description, figures, measurements, usage, data and licence, provenance.

manifest, captions of the figures, notes, parity -> Markdown
"""

import shlex
from collections.abc import Mapping, Sequence

from service.model.manifest import Imported, Manifest, Metric, Training
from training.export import recipe_file
from training.recipe import builtin_recipes, load

Credit = tuple[str, str, str, str]
"""A source of training images, how many they are, their licences, their authors."""

SAVING = "--fail-with-body"  # of a command that writes a file: else an error ends up in it, and curl succeeds
NETWORK_ALONE = (
    "The numbers are of the network alone. The service also leaves photographs, slides and charts on a page as they "
    "are, and makes dark pages bright first."
)


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
    lines = [
        f"# {facts.name}, version {facts.version}",
        "",
        facts.description,
        "",
        *(["**Falls short.**", "", *(f"- {line}" for line in facts.shortfalls), ""] if facts.shortfalls else []),
        *_image_lines(captions),
        "## Measured",
        "",
        *_measured_lines(facts),
        *_table_lines(facts.evaluation),
        *([notes.strip(), ""] if notes.strip() else []),
        *_score_lines(facts),
        f"Parity: {parity}",
        "",
        "## Use",
        "",
        "```sh",
        *_command_lines(facts),
        "```",
        "",
        *_comparison_lines(facts),
        *(_training_lines(facts, facts.training, remarks, credit_table) if facts.training is not None else []),
        *(_import_lines(facts.imported, remarks) if facts.imported is not None else []),
    ]
    return "\n".join(lines)


def _measured_lines(facts: Manifest) -> list[str]:
    """On what the numbers of the table were measured."""
    if facts.imported is None:
        unit = "samples" if facts.halo is None else "images"
        return [
            f"On the {facts.held_out_samples} held-out {unit} of the test split, which nothing was chosen on.",
            *([NETWORK_ALONE] if facts.keeps_figures else []),
            "",
        ]
    samples = facts.imported.samples
    if samples is None:
        reason = "" if "denoise" in facts.operations else "; without them there is no operation `reconstruct`"
        return [f"Nothing: the model was imported without `--samples`{reason}.", ""]
    return [
        f"On {samples.test} samples that were given at import; baselines were fitted or chosen on {samples.reference} "
        "others. Whether the model was trained on any of them is not known.",
        "",
    ]


def _score_lines(facts: Manifest) -> list[str]:
    """By what samples are called unusual, and what else was compared."""
    if facts.score is None:
        return []
    own = facts.score.auroc.get(facts.score.name)
    others = ", ".join(f"{name} {value:.3f}" for name, value in facts.score.auroc.items() if name != facts.score.name)
    compared = "" if own is None else f" {own:.3f}; {others}" if others else f" {own:.3f}"
    return [
        f"Samples are called unusual by the score `{facts.score.name}`. AUROC of validation samples and such that were "
        f"damaged on purpose:{compared}.",
        "",
    ]


def _training_lines(
    facts: Manifest, training: Training, remarks: Sequence[str], credit_table: Sequence[Credit]
) -> list[str]:
    data = training.data
    return [
        "## Data and licence",
        "",
        f"{data.source}: {data.train} training, {data.validation} validation, {data.test} test samples. "
        f"Licence of the data: {data.licence}. {_describe_start(training)}",
        "",
        *([f"- {remark}" for remark in remarks] + [""] if remarks else []),
        *_credit_lines(credit_table),
        "## Made by",
        "",
        f"Recipe `{training.recipe}` (SHA-256 {training.recipe_sha256[:12]}...), seed {training.seed}, "
        f"{training.date}, code {training.code_revision}, {_format_versions(training.versions)}.",
        "",
        *_describe_data(training),
        "```sh",
        f"autoencoder-train {_locate_recipe(facts, training)}{_start_option(training)}",
        "```",
        "",
    ]


def _describe_start(training: Training) -> str:
    if training.start is None:
        return "The weights were trained from scratch on these data alone."
    return f"The weights of {training.start} were the initial ones; what it was trained on, its own card says."


def _describe_data(training: Training) -> list[str]:
    """A line for own data, whose path is no part of a package."""
    if _is_shipped(training):
        return []
    return [f"Where `{training.data.source}` is not in the current folder, `--data PATH` says where it is.", ""]


def _start_option(training: Training) -> str:
    return "" if training.start is None else f" --from models/{training.start}"


def _is_shipped(training: Training) -> bool:
    return training.recipe in builtin_recipes() and load(training.recipe).digest == training.recipe_sha256


def _locate_recipe(facts: Manifest, training: Training) -> str:
    """The name of a shipped recipe, or else the file in the package."""
    return training.recipe if _is_shipped(training) else f"models/{facts.key}/{recipe_file.NAME}"


def _import_lines(imported: Imported, remarks: Sequence[str]) -> list[str]:
    samples = imported.samples
    data = [] if samples is None else [f"Samples: {samples.source}, licence: {samples.licence}.", ""]
    return [
        "## Imported",
        "",
        f"Licence of the weights: {imported.licence}. How they were trained is not known here.",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| {name} | `{digest}` |" for name, digest in imported.files.items()),
        "",
        "Found by reading and running the graphs, or assumed:",
        "",
        *(f"- {line}" for line in (*imported.assumptions, *remarks)),
        "",
        *data,
        f"{imported.date}, code {imported.code_revision}, {_format_versions(imported.versions)}.",
        "",
        "```sh",
        f"autoencoder-train import {shlex.join(imported.options)}",
        "```",
        "",
    ]


def _format_versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _credit_lines(credit_table: Sequence[Credit]) -> list[str]:
    if not credit_table:
        return []
    rows = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in credit_table]
    return ["| source | images | licences | authors |", "|---|---|---|---|", *rows, ""]


def _comparison_lines(facts: Manifest) -> list[str]:
    if "reconstruct" not in facts.operations or facts.training is None:
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
        return [f"curl {SAVING} -F image=@scan.png {url}/denoise -o clean.png"]
    is_image = "reconstruction_psnr" in facts.evaluation
    is_measured = bool(facts.evaluation)  # an imported package without samples does not say what it takes
    numbers = "-H 'Content-Type: application/x-npy' --data-binary @samples.npy"
    body = "-F image=@picture.png" if is_image else numbers
    lines = [f"curl {body} {url}/encode"] if "encode" in facts.operations else []
    if "decode" in facts.operations and not is_measured:
        lines.append(f"curl {numbers.replace('samples', 'latents')} {url}/decode")
    if "reconstruct" in facts.operations and is_image:
        lines.append(f"curl {SAVING} {body} {url}/reconstruct -o reconstruction.png")
        if "denoise" in facts.operations:
            lines.append(f"curl {SAVING} {body} {url}/denoise -o clean.png")
    elif "reconstruct" in facts.operations:
        lines.append(f"curl {body} -H 'Accept: application/json' {url}/reconstruct")
    if "sample" in facts.operations:
        target = "drawn.png" if is_image else "drawn.json"
        lines.append(f"curl {SAVING} -X POST '{url}/sample?count=16&seed=1' -o {target}")
    return lines
