import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.engine import checkpoint, loop
from training.engine.losses import LossAndError
from training.errors import NotFinite, TrainingError
from training.recipe import Optimization

TARGET = torch.tensor([[1.0, -2.0, 0.5]])
TRAIN = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def objective(module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
    noisy = batch + 0.1 * torch.randn(batch.shape, generator=generator)
    return F.mse_loss(module(noisy), batch @ TARGET.T)


def validate(module: nn.Module) -> float:
    return float(F.mse_loss(module(TRAIN), TRAIN @ TARGET.T))


def fit(
    file: Path,
    epochs: int = 10,
    validate: loop.Validation = validate,
    minutes: float | None = None,
    resume: bool = False,
    start_margin: float | None = None,
    objective: loop.Objective = objective,
    **options: Any,
) -> tuple[nn.Module, loop.History]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimization = Optimization(epochs=epochs, batch_size=16, **{"learning_rate": 0.01, **options})
    generator = torch.Generator().manual_seed(1)
    history = loop.fit(
        module, TRAIN, objective, validate, optimization,
        generator=generator, file=file, fingerprint="this", title="test",
        minutes=minutes, resume=resume, start_margin=start_margin,
    )  # fmt: skip
    return module, history


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_error_falls(tmp_path: Path) -> None:
    _, history = fit(tmp_path / "c.pt", epochs=30)
    assert len(history.loss) == len(history.validation) == 30
    assert history.validation[-1] < 0.1 * history.validation[0]


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9, "schedule": "cosine", "warmup": 0.1, "clip": 1.0, "weight_decay": 0.1}]
)
def test_a_run_that_broke_off_ends_with_the_weights_of_one_that_did_not(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    uninterrupted, history = fit(tmp_path / "whole.pt", **options)
    calls = 0

    def breaks_off(module: nn.Module) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return validate(module)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken.pt", validate=breaks_off, **options)
    resumed, again = fit(tmp_path / "broken.pt", **options)
    assert same(uninterrupted, resumed)
    assert history == again


def test_one_sample_left_over_goes_with_those_before_it() -> None:
    sizes = [len(part) for part in loop._split_batches(torch.arange(9), 4)]
    assert sizes == [4, 5]
    assert [len(part) for part in loop._split_batches(torch.arange(10), 4)] == [4, 4, 2]
    assert [len(part) for part in loop._split_batches(torch.arange(3), 1)] == [1, 1, 1]
    assert [len(part) for part in loop._split_batches(torch.arange(1), 4)] == [1]


@pytest.mark.parametrize(("samples", "batch_size"), [(8, 1), (1, 4)])
def test_batch_norm_over_one_sample_is_one_sentence(tmp_path: Path, samples: int, batch_size: int) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(TrainingError, match="batches of one sample"):
        loop.fit(
            module,
            torch.rand(samples, 3),
            lambda network, batch, *_: F.mse_loss(network(batch), batch),
            lambda _: 0.0,
            Optimization(epochs=1, batch_size=batch_size),
            generator=torch.Generator().manual_seed(0),
            file=tmp_path / "run.pt",
            fingerprint="one",
            title="one",
        )


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, _ = fit(tmp_path / "c.pt")
    second, _ = fit(tmp_path / "c.pt")
    assert same(first, second)


def test_the_best_epoch_is_kept_and_patience_stops_the_run(tmp_path: Path) -> None:
    errors = iter([5.0, 3.0, 4.0, 4.0, 4.0, 1.0])
    weights = []

    def rises(module: nn.Module) -> float:
        weights.append({k: v.clone() for k, v in module.state_dict().items()})
        return next(errors)

    module, history = fit(tmp_path / "c.pt", validate=rises, patience=3)
    assert history.validation == [5.0, 3.0, 4.0, 4.0, 4.0]
    assert history.best == 1
    assert all(torch.equal(v, weights[1][k]) for k, v in module.state_dict().items())


def test_a_loss_that_is_not_finite_stops_the_run_loudly(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"the loss became (nan|inf) in epoch \d+ .*lower optimization\.learning_rate"):
        fit(tmp_path / "c.pt", epochs=200, learning_rate=10.0, schedule="constant", validate=lambda m: overflow(m))


def overflow(module: nn.Module) -> float:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1e30)
    return 1.0


def test_learning_rates_rise_and_fall() -> None:
    optimization = Optimization(epochs=1, learning_rate=1.0, schedule="cosine", warmup=0.1)
    rates = [loop.learning_rate_factor(optimization, p) for p in (0, 0.05, 0.1, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2]
    assert rates[3] == pytest.approx(0.5)
    assert rates[4] == pytest.approx(0)
    assert loop.learning_rate_factor(Optimization(epochs=1, learning_rate=0.2), 0.9) == 1


def test_bf16_runs_the_same_loop(tmp_path: Path) -> None:
    _, history = fit(tmp_path / "c.pt", epochs=3, precision="bf16")
    assert all(math.isfinite(loss) for loss in history.loss)


def test_minutes_end_a_run_and_the_next_call_goes_on_before_its_cool_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("training.engine.loop.time.monotonic", tick)
    rates: list[float] = []
    step = loop._Run.step

    def record_rate(self: loop._Run, *arguments: Any) -> Tensor:
        loss = step(self, *arguments)
        rates.append(self.rate)
        return loss

    monkeypatch.setattr(loop._Run, "step", record_rate)
    monkeypatch.setattr(loop, "WARMUP_STEPS", 1)
    options: dict[str, Any] = {"epochs": 10_000, "minutes": 5, "schedule": "cool-down", "cool_down": 0.4}
    fit(tmp_path / "c.pt", **options)
    first = list(rates)
    assert first[0] == 0.01, "a constant rate"
    assert first[-1] < 0.001, "that falls to zero in the last part"
    assert first == sorted(first, reverse=True)
    kept = checkpoint.load(tmp_path / "c.pt", "this")
    assert kept is not None
    assert 0 < kept["steps"] <= sum(rate == 0.01 for rate in first) + 4
    rates.clear()
    _, history = fit(tmp_path / "c.pt", **options)
    assert rates[0] == 0.01, "the second call goes on at the constant rate"
    assert len(history.loss) > len(kept["history"]["loss"])


def test_a_long_epoch_ends_early_so_that_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("training.engine.loop.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 3)
    options: dict[str, Any] = {"epochs": 10_000, "schedule": "cool-down", "cool_down": 0.1}
    _, history = fit(tmp_path / "short.pt", minutes=2, **options)
    state = checkpoint.load(tmp_path / "short.pt", "this")
    assert state is not None
    assert state["steps"] < 4 * len(state["history"]["loss"]), "four steps are all samples once"
    assert all(math.isfinite(loss) for loss in history.loss)
    fit(tmp_path / "whole.pt", **{**options, "epochs": 3})
    state = checkpoint.load(tmp_path / "whole.pt", "this")
    assert state is not None
    assert state["steps"] == 4 * len(state["history"]["loss"]), "without minutes an epoch is whole"


def test_no_minutes_train_nothing_and_give_the_best_weights_of_before(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 6, "schedule": "cool-down", "cool_down": 0.5}
    fit(tmp_path / "c.pt", **options)
    kept = checkpoint.load(tmp_path / "c.pt", "this")
    assert kept is not None
    module, history = fit(tmp_path / "c.pt", minutes=0, **options)
    assert len(history.loss) == len(kept["history"]["loss"]) == 3
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, kept["best"][name])


def test_a_run_is_resumed_with_another_recipe_only_if_asked(tmp_path: Path) -> None:
    fit(tmp_path / "c.pt", epochs=3)
    state = checkpoint.load(tmp_path / "c.pt", "this")
    assert state is not None
    checkpoint.save(tmp_path / "c.pt", {**state, "fingerprint": "another"})
    _, history = fit(tmp_path / "c.pt", epochs=5, resume=True)
    assert len(history.loss) == 5
    assert history.validation[:3] == [math.inf] * 3, "errors of other data are forgotten"
    assert history.best >= 3
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        fit(tmp_path / "none.pt", epochs=5, resume=True)


@pytest.mark.parametrize("steps", [3, 4, 11])
def test_an_epoch_can_have_a_number_of_steps_whatever_the_number_of_samples(tmp_path: Path, steps: int) -> None:
    options: dict[str, Any] = {"epochs": 3, "steps_per_epoch": steps, "schedule": "cosine"}
    first, history = fit(tmp_path / "c.pt", **options)
    state = checkpoint.load(tmp_path / "c.pt", "this")
    assert state is not None
    assert state["steps"] == 3 * steps
    assert len(history.loss) == 3
    second, _ = fit(tmp_path / "again.pt", **options)
    assert same(first, second)


def test_every_sample_is_drawn_before_one_is_drawn_again() -> None:
    optimization = Optimization(epochs=1, batch_size=4, steps_per_epoch=5)
    order = loop._draw_order(8, optimization, torch.Generator().manual_seed(0))
    assert len(order) == 20
    assert sorted(order[:8].tolist()) == sorted(order[8:16].tolist()) == list(range(8))
    assert len(set(loop._draw_order(100, optimization, torch.Generator().manual_seed(0)).tolist())) == 20


def test_the_initial_weights_are_kept_unless_an_epoch_is_better(tmp_path: Path) -> None:
    errors = iter([1.0, 3.0, 2.0])
    module, history = fit(tmp_path / "c.pt", epochs=2, validate=lambda _: next(errors), start_margin=0)
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    assert same(module, untrained)
    assert (history.best, history.best_error) == (-1, 1.0)
    again, resumed = fit(tmp_path / "c.pt", epochs=3, validate=lambda _: 0.5, start_margin=0)
    assert (resumed.best, resumed.best_error) == (2, 0.5)
    assert not same(again, untrained)
    errors = iter([1.0, 0.95, 0.89, 0.88])
    _, history = fit(tmp_path / "margin.pt", epochs=3, validate=lambda _: next(errors), start_margin=0.1)
    assert history.best == 2
    errors = iter([1.0, 0.95, 0.91, 0.92])
    _, history = fit(tmp_path / "kept.pt", epochs=3, validate=lambda _: next(errors), start_margin=0.1)
    assert (history.best, history.best_error) == (-1, 1.0)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_long_run_that_diverges_goes_on_from_its_best_weights_at_half_the_rates(
    tmp_path: Path, ema: float, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"schedule": "cool-down", "cool_down": 0.01, "ema": ema, "epochs": 6}
    found = [1.0, 0.5, 0.6, 2.1, 0.7, 0.4]
    errors = iter(found)
    whole, history = fit(tmp_path / "whole" / "c.pt", validate=lambda _: next(errors), **options)
    assert history.validation == found
    assert "epoch 4 diverged; training goes on from the best weights, at 0.5 of" in capsys.readouterr().err

    errors = iter(found[:4])
    with pytest.raises(StopIteration):
        fit(tmp_path / "broken" / "c.pt", validate=lambda _: next(errors), **options)
    state = checkpoint.load(tmp_path / "broken" / "c.pt", "this")
    assert state is not None
    assert state["rate_share"] == 0.5
    for name, weight in state["module"].items():
        torch.testing.assert_close(weight, state["best"][name], rtol=0, atol=0)
    errors = iter(found[4:])
    resumed, again = fit(tmp_path / "broken" / "c.pt", validate=lambda _: next(errors), **options)
    assert same(whole, resumed)
    assert again == history


def test_a_run_of_planned_length_ends_with_its_best_weights_whatever_later_epochs_do(tmp_path: Path) -> None:
    errors = iter([1.0, 0.5, 3.0, 3.0])
    _, history = fit(tmp_path / "c.pt", epochs=4, validate=lambda _: next(errors), schedule="cosine")
    state = checkpoint.load(tmp_path / "c.pt", "this")
    assert state is not None
    assert (history.best, state["rate_share"]) == (1, 1.0)


def test_the_reported_training_error_need_not_be_the_loss(tmp_path: Path) -> None:
    def halved(module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator) -> LossAndError:
        loss = objective(module, batch, progress, generator)
        return LossAndError(loss, loss / 2)

    _, history = fit(tmp_path / "loss.pt", epochs=2)
    _, halved_history = fit(tmp_path / "error.pt", epochs=2, objective=halved)
    assert halved_history.loss == pytest.approx([loss / 2 for loss in history.loss])
    assert halved_history.validation == history.validation


def test_the_precision_is_chosen_by_measuring() -> None:
    assert loop.choose_precision("bf16", torch.device("cpu")) == "bf16"
    assert loop.choose_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
