"""Every command in the README is run, against the shipped models."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service import package
from tests.drawings import drawings
from training import recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [c for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for c in block.strip().splitlines()]
ON_FILES = re.compile(r"autoencoder-service (denoise|encode|decode|reconstruct) ")
QUICK_UNET = (
    "--set optimization.epochs=1 --set data.patch=32 --set data.crop=32 --set architecture.widths=[8,8] "
    "--set architecture.encoder_blocks=[0,1] --set architecture.decoder_blocks=[1]"
)
METRICS = {
    "cats-undercomplete": "reconstruction_mse",
    "cats-stacked": "reconstruction_mse",
    "cats-convolutional": "reconstruction_mse",
    "cats-denoising": "denoising_mse_gaussian_0.25",
    "digits-deep": "reconstruction_mse",
    "pages": "denoising_rmse",
    "photos": "denoising_psnr_cbsd68_25",
}
QUICK = "--set optimization.epochs=1 --set pretraining.epochs=1 --set ablation=[] --set architecture.hidden=[64]"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(ROOT / "models")]
    environment = {**os.environ, "AUTOENCODER_DRAIN": "0"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        yield next(word for word in process.stdout.readline().split() if word.startswith("http"))
        process.terminate()


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    made = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"{command}\n{made.stderr}"
    return made.stdout


def test_the_curl_lines_do_what_the_readme_says(url: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    lines = [command for command in COMMANDS if command.startswith("curl")]
    assert len(lines) >= 5
    for line in lines:
        output = run(
            line.replace("curl ", "curl -sSf ").replace("localhost:8000", url.removeprefix("http://")), tmp_path
        )
        if " -o " not in line:
            assert json.loads(output)
    clean = np.asarray(Image.open(ROOT / "docs" / "cat.png")).astype(float)
    noisy = np.asarray(Image.open(ROOT / "docs" / "noisy-cat.png")).astype(float)
    denoised = np.asarray(Image.open(tmp_path / "clean.png")).astype(float)
    assert np.mean((denoised - clean) ** 2) < 0.4 * np.mean((noisy - clean) ** 2)
    scan, page = (np.asarray(Image.open(tmp_path / f).convert("L")) for f in ("docs/scan.png", "page.png"))
    assert page.shape == scan.shape
    assert np.median(page) == 255 > np.median(scan)
    photo, noisy_photo, half = (
        np.asarray(Image.open(tmp_path / f)).astype(float) for f in ("photo.jpg", "docs/noisy-photo.jpg", "half.jpg")
    )
    assert photo.shape == noisy_photo.shape
    assert np.abs(np.diff(photo, axis=1)).mean() < 0.5 * np.abs(np.diff(noisy_photo, axis=1)).mean()
    assert np.abs(half - (photo + noisy_photo) / 2).mean() < 3, "but for JPEG"
    for picture in ("decoded.png", "reconstructed.png"):
        drawn = np.asarray(Image.open(tmp_path / picture)).astype(float)
        assert np.mean((drawn - clean) ** 2) < 0.7 * np.mean(clean**2)
    assert "reconstruction-error-percentile" in (tmp_path / "headers.txt").read_text()


def test_the_lines_on_files_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_MODELS", str(ROOT / "models"))
    (tmp_path / "docs").mkdir()
    pictures = ("scan.png", "noisy-photo.jpg", "cat.png")
    for name in pictures:
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs")
    lines = [command for command in COMMANDS if ON_FILES.match(command)]
    assert len(lines) == 4
    for line in lines:
        run(line, tmp_path)
    assert np.median(np.asarray(Image.open(tmp_path / "page.png"))) == 255
    assert {path.name for path in (tmp_path / "clean").iterdir()} == set(pictures)
    assert np.load(tmp_path / "latents.npy").shape == (3, 32)
    unusual = (tmp_path / "unusual.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in unusual[1:]][-1] == "cat.png", "of these, what the model knows best"


def test_the_python_lines_do_what_they_say(url: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "lines.py").write_text(block.replace("http://localhost:8000", url))
    error, percentile = re.findall(r"\[([\d.e-]+)\]", run(f"{sys.executable} lines.py", tmp_path))
    assert 0 < float(error) < 0.1
    assert 0 <= float(percentile) <= 100
    assert np.median(np.asarray(Image.open(tmp_path / "page.png"))) == 255


def test_the_training_lines_leave_a_package_that_is_listed(tmp_path: Path) -> None:
    for folder, size in (("folder", 12), ("clean", 48), ("noisy", 48)):
        (tmp_path / "path" / "to" / folder).mkdir(parents=True)
        for index, image in enumerate(drawings(120, size)):
            noise = np.random.default_rng(index).integers(0, 60 if folder == "noisy" else 1, image.shape)
            noisy = np.minimum(image + noise, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "path" / "to" / folder / f"{index}.png")
    output = ""
    for line in [c for c in COMMANDS if c.startswith("autoencoder-") and not ON_FILES.match(c)]:
        quick = "" if "--data" not in line else QUICK if "--kind" in line else QUICK_UNET
        output += run(f"{line} {quick}", tmp_path)
    assert "mine" in output
    assert package.read(tmp_path / "models" / "mine" / "1").manifest.kind == "stacked"
    for name in ("mine-photos", "mine-pages"):
        assert package.read(tmp_path / "models" / name / "1").manifest.operations == ("denoise",)


def test_every_command_is_run_by_one_of_these_tests() -> None:
    assert all(command.startswith(("curl ", "autoencoder-")) for command in COMMANDS)
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"(?:`|^)make (\w+)", README, re.MULTILINE))
    assert {"serve", "test", "train"} <= verbs
    for verb in verbs:
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"README says make {verb}"


@pytest.mark.parametrize("name", [*METRICS])
def test_shipped_packages_are_those_of_the_shipped_recipes_and_the_readme_says_their_numbers(name: str) -> None:
    manifest = package.read(ROOT / "models" / name / "1").manifest
    assert manifest.training.recipe_sha256 == recipe.load(name).digest
    metric = manifest.evaluation[METRICS[name]]
    assert f"{metric.value:.{2 if metric.unit == 'dB' else 4}f}" in README
    assert str(ROOT) not in (ROOT / "models" / name / "1" / "README.md").read_text()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_all_models_together_are_small() -> None:
    assert sum(p.stat().st_size for p in (ROOT / "models").rglob("*") if p.is_file()) < 40e6
