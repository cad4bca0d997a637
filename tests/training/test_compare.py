"""`autoencoder-train compare`, on packages trained here in a second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.model import package
from service.model.manifest import Manifest
from tests.drawings import drawings, waves
from training import compare
from training.__main__ import main
from training.errors import ComparisonError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/small (2 numbers, 12 numbers), models/waves and runs/ of all."""
    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "drawings.npy", drawings(150))
    np.save(folder / "waves.npy", waves(150))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for data, size, name in (("drawings", 2, "small"), ("drawings", 12, "small"), ("waves", 3, "waves")):
            command = ["--data", f"{data}.npy", "--kind", "undercomplete", "--latent-dim", str(size)]
            plain = ("architecture.type=dense", "architecture.hidden=[]", "architecture.linear_path=false")
            quick = [word for change in ("optimization.epochs=1", "ablation=[]", *plain) for word in ("--set", change)]
            assert main([*command, "--out", f"models/{name}", "--fresh", *quick]) == 0
    return folder


@pytest.fixture(autouse=True)
def working_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(trained / "models")
    (tmp_path / "runs").symlink_to(trained / "runs")


def test_the_table_has_a_line_for_each_package_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "models/small/1", "models/small/2"]) == 0
    head, *lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert head.split()[:4] == ["package", "kind", "latent", "error"]
    rows = [line.split() for line in lines]
    facts = {f"small/{n}": package.read(Path("models/small").absolute() / str(n)).manifest for n in (1, 2)}
    assert {cells[0] for cells in rows} == set(facts)
    assert float(rows[0][3]) <= float(rows[1][3])
    for cells in rows:
        assert cells[3] == f"{facts[cells[0]].evaluation['reconstruction_mse'].value:.4g}"
        pca_errors = dict(facts[cells[0]].pca_error or ())
        assert cells[4] == f"{pca_errors[int(cells[2])]:.4g}"
        assert int(cells[6].replace(",", "")) == 144 * int(cells[2]) * 2 + 144 + int(cells[2])
        assert int(cells[8].replace(",", "")) == 144 * int(cells[2]) * 2


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_figure_is_of_the_kind_that_its_name_says(name: str, start: bytes) -> None:
    assert main(["compare", "models/small/1", "models/small/2", "--figure", name]) == 0
    assert Path(name).read_bytes().startswith(start)


def test_the_figure_shows_each_package_and_pca(tmp_path: Path) -> None:
    packages = [package.read(compare.find_package(Path(f"models/small/{n}"))) for n in (1, 2)]
    rows, curve = [compare.make_row(entry) for entry in packages], compare.pca_curve(packages)
    axes = compare.draw_figure(rows, curve, "error").axes
    pca, *points = axes[0].lines
    components, errors = np.asarray(pca.get_xdata()), np.asarray(pca.get_ydata())
    assert components.tolist() == list(range(1, 13))
    assert (np.diff(errors) <= 0).all()
    assert [np.asarray(p.get_xydata()).tolist() for p in points] == [[[r.latent, r.error]] for r in rows]
    work = [np.asarray(line.get_xydata()).tolist() for line in axes[1].lines]
    assert work == [[[r.cost.multiply_adds, r.error]] for r in rows]
    assert main(["compare", "models/small/1", "models/small/2"]) == 0
    assert np.asarray(Image.open("comparison.png")).std() > 5


def test_a_model_stands_for_its_highest_version_and_a_run_for_what_it_left() -> None:
    models = Path("models").resolve()
    assert compare.find_package(Path("models/small")).resolve() == models / "small" / "2"
    assert compare.find_package(Path("runs/small")).resolve() == models / "small" / "2"


def test_packages_from_before_know_one_size_of_pca() -> None:
    entry = package.read(compare.find_package(Path("models/small")))
    facts = entry.manifest.model_dump(mode="json", exclude_none=True, exclude={"pca_error"})
    old = package.Package(Manifest.model_validate(facts), entry.graphs, entry.ports)
    assert list(compare.pca_curve([old])) == [12]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["models/small", "models/waves"], "waves was trained on other data than small"),
        (["models/nowhere"], "holds no package"),
        (["models/small", "--figure", "a.bmp"], "must end with .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("comparison.png").exists()


def test_a_denoiser_without_a_latent_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(Path(__file__).parents[2] / "models" / "pages")]) == 2
    assert "pages does not reconstruct" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[1]", b"[" * 100_000, b'{"package": 7}'])
def test_a_damaged_history_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.json").write_bytes(content)
    with pytest.raises(ComparisonError) as refusal:
        compare.find_package(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
