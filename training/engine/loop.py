"""The training loop: fits a module to an objective, with checkpoints, resuming, early stopping and a finite loss.

batch -> objective(module, batch, progress, generator) -> loss -> backward -> step -> [running average]
  -> after each epoch: validation error -> best weights -> checkpoint

All randomness comes from one generator whose state is in the checkpoint, so a run killed at any moment and started
again ends with the same weights (same machine, CPU). Under torchrun several processes share each batch
(training.engine.distributed).

A run with `minutes` ends by the clock. With schedule "cool-down" the checkpoint is written only while the rate is
constant, so that the next call goes on from there, as often as one likes; the weights that a call returns are those of
its own cool-down (Hu et al., "MiniCPM", arXiv:2404.06395, section 4: warm-up, stable, decay). A constant rate that was
right for hours can become too high. So such a run that diverges goes on from its best weights, at half the rates.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from training.engine import checkpoint, distributed
from training.engine.curve_log import CurveLog
from training.engine.losses import LossAndError
from training.engine.muon import Muon
from training.engine.progress import Progress, report
from training.errors import CheckpointError, NotFinite, TrainingError
from training.recipe import Optimization

Network = TypeVar("Network", bound=nn.Module)
WARMUP_STEPS = 200  # of schedule "cool-down"
CHECKPOINT_SECONDS = 600  # of schedule "cool-down" with `minutes`: an epoch ends early, so that no more is lost
DIVERGENCE = 4  # an epoch of schedule "cool-down" with so many times the best validation error is undone
COOLED = "cooled.pt"  # beside the checkpoint: the weights of the last cool-down, for --from

Objective = Callable[[nn.Module, Any, float, torch.Generator], Tensor | LossAndError]
"""(module, batch: samples [B,...] as stored or as Batches loads them, progress 0..1, generator) -> scalar loss, and
where it is no error on the scale of the validation error also such an error"""
Validation = Callable[[nn.Module], float]
"""(module in eval mode) -> validation error"""


class Batches(Protocol):
    """Training samples that are prepared batch by batch."""

    def __len__(self) -> int: ...

    def load(self, batches: Sequence[Tensor], generator: torch.Generator) -> Iterator[Any]:
        """For each of `batches`, int64 [B] indices of samples, what the objective gets."""


@dataclass
class History:
    """One entry per epoch: mean training error, validation error. `best` is the epoch (from 0) that was kept.

    `loss` is on the scale of the validation error, if the objective says so. `best` -1: the initial weights were kept,
    whose validation error is `start`; an epoch had to be better than that by the share `margin`.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: int = -1
    start: float = math.inf
    margin: float = 0

    @property
    def best_error(self) -> float:
        """The validation error of the weights that were kept."""
        return self.validation[self.best] if self.best >= 0 else self.start


@dataclass
class TrainingResult(Generic[Network]):
    """A network with the weights of its best epoch, on the CPU, in eval mode, and its learning curves.

    `layer_histories`: one for each layer that was pretrained by itself.
    """

    network: Network
    history: History
    layer_histories: list[History] = field(default_factory=list)


def fit(
    module: nn.Module,
    train: Tensor | Batches,
    objective: Objective,
    validate: Validation,
    optimization: Optimization,
    *,
    generator: torch.Generator,
    file: Path,
    fingerprint: str,
    title: str,
    minutes: float | None = None,
    resume: bool = False,
    start_margin: float | None = None,
    log_folder: Path | None = None,
) -> History:
    """Train `module` in place; it ends with the weights of its best epoch, in eval mode.

    Args:
        train: all training samples: as stored, on the module's device, uint8 [N,H,W,C] or float64 [N,D]; or Batches.
        objective, validate: what is minimised, and what chooses the best epoch.
        generator: the only source of randomness, on the module's device.
        file: the checkpoint, written after every epoch; if it has this `fingerprint`, the run resumes from it.
        title: printed before the progress bar.
        minutes: the run ends after so many, 0 or more, whatever `epochs` says; None: it ends after `epochs`. With
            schedule "cool-down" the minutes are those of this call, with others those of all calls together.
        log_folder: where the curve is written while it grows, see training.engine.curve_log.
        start_margin: the initial weights are kept unless an epoch has a validation error below theirs by this share;
            None: they are not measured. Where a run goes on from a checkpoint, the checkpoint says it.
        resume: go on from the checkpoint although its fingerprint is another one: recipe or data have changed since.
    Raises:
        NotFinite: the loss became NaN or infinite.
        CheckpointError: the checkpoint is damaged, or does not fit the module.
        DiskError: a checkpoint could not be written.
        TrainingError: the batches hold one sample each and the module has batch norm; or `minutes` with several
            processes, whose clocks would disagree; or there is nothing to `resume`.
    """
    if minutes is not None and distributed.world_size() > 1:
        raise TrainingError("--minutes is for one process; under torchrun give optimization.epochs")
    run = _Run(module, optimization, generator)
    epochs, batch_size = optimization.epochs, optimization.batch_size
    steps = optimization.steps_per_epoch or count_steps(len(train), batch_size)
    if min(batch_size, len(train)) == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in module.modules()):
        raise TrainingError(
            f"{title}: batches of one sample (batch_size {batch_size}, {len(train)} training samples) cannot be "
            "normalised; batch norm needs two or more, or architecture.batch_norm = false where that is a key"
        )
    is_main = distributed.is_main_process()
    state = distributed.broadcast(checkpoint.load(file, None if resume else fingerprint) if is_main else None)
    if resume and state is None:
        raise TrainingError(f"there is no checkpoint {file} to resume from")
    if state is not None:
        try:
            run.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint {file} is of another architecture or optimizer, or incomplete: undo that change of "
                "the recipe, or start again with --fresh"
            ) from error
        if state["fingerprint"] != fingerprint:
            run.forget_best()
        if run.epoch < epochs and is_main:
            report(f"{title}: resuming after epoch {run.epoch} of {epochs}")
    elif start_margin is not None:
        run.measure_start(validate, start_margin)
    clock = _Clock(optimization, epochs * steps, minutes, run.seconds)
    is_finished = clock.measure_progress(run.epoch * steps) >= 1 or run.has_stopped
    if is_finished:
        return run.finish()
    with (
        Progress(title, None if minutes else epochs, minutes, run.epoch, steps, is_main=is_main) as reporter,
        CurveLog(log_folder if is_main else None) as log,
    ):
        while clock.measure_progress(run.epoch * steps) < 1 and not run.has_stopped:
            module.train()
            total, count = torch.zeros(2, device=generator.device), 0  # of losses and errors
            order = _draw_order(len(train), optimization, generator)
            batches = _split_batches(order, batch_size)
            loaded = _load_batches(train, batches, generator)
            for step, (indices, batch) in enumerate(zip(batches, loaded, strict=True)):
                progress = clock.measure_progress(run.epoch * steps + step)
                if progress >= 1 or clock.is_checkpoint_due(count):
                    break
                total += run.step(batch, objective, progress) * len(indices)
                count += len(indices)
                reporter.step(progress, total[1], count)
            loss, training_error = (total / max(1, count)).tolist()
            if not math.isfinite(loss + training_error):
                raise NotFinite(
                    f"{title}: the loss became {loss} in epoch {run.epoch + 1} (learning rate {run.rate:.2g}); "
                    f"lower optimization.learning_rate; the checkpoint of the epoch before is kept in {file}"
                )
            has_diverged = run.close_epoch(training_error, validate)
            run.seconds = clock.total_seconds
            if not is_main:
                continue
            is_cooling_down = clock.is_cooling_down(run.epoch * steps)
            target = file.with_name(COOLED) if is_cooling_down else file
            checkpoint.save(target, {"fingerprint": fingerprint, **run.state()})
            validation_error = run.history.validation[-1]
            reporter.close_epoch(training_error, validation_error)
            if has_diverged:
                report(
                    f"{title}: epoch {run.epoch} diverged; training goes on from the best weights, at "
                    f"{run.rate_share:g} of the recipe's learning rates"
                )
            log.add(run.epoch, run.steps, run.seconds, run.rate, training_error, validation_error)
        history = run.history
        reporter.finish(history.best + 1, history.loss[history.best] if history.loss else math.nan, history.best_error)
    if run.has_stopped and is_main:
        report(f"{title}: stopped early after epoch {run.epoch}, epoch {run.history.best + 1} was the best")
    return run.finish()


def count_steps(samples: int, batch_size: int) -> int:
    """The number of batches, and so of steps, that `fit` makes of `samples` training samples in one epoch."""
    return len(_split_batches(torch.arange(samples), batch_size))


def _draw_order(samples: int, optimization: Optimization, generator: torch.Generator) -> Tensor:
    """int64 indices of the samples of one epoch: all of them once, or as many as `steps_per_epoch` need."""
    needed = optimization.steps_per_epoch * optimization.batch_size or samples
    passes = [
        torch.randperm(samples, generator=generator, device=generator.device) for _ in range(-(-needed // samples))
    ]
    return torch.cat(passes)[:needed]


def _load_batches(train: Tensor | Batches, batches: Sequence[Tensor], generator: torch.Generator) -> Iterator[Any]:
    if isinstance(train, Tensor):
        return (train[indices] for indices in batches)
    return train.load(batches, generator)


def _split_batches(order: Tensor, size: int) -> list[Tensor]:
    """`order` int64 [N] in parts of `size`; a last part of one sample joins the part before: batch norm needs two."""
    batches = list(torch.split(order, size))
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


class _Run:
    """The state that changes while fitting; `state()` is what a checkpoint holds so that a run resumes exactly."""

    def __init__(self, module: nn.Module, optimization: Optimization, generator: torch.Generator) -> None:
        self.module, self.optimization, self.generator = module, optimization, generator
        self.sharded = distributed.shard(module)
        self.precision = choose_precision(optimization.precision, next(module.parameters()).device)
        self.optimizers = _optimizers(module, optimization)
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.rate_share = 1.0  # of the recipe's rates; less after the run diverged
        self.average = copy.deepcopy(module) if optimization.ema else None
        self.best = copy.deepcopy(module.state_dict())
        self.history = History()
        self.steps = 0
        self.seconds = 0.0  # of training, all calls together
        self.rate = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history.loss)

    @property
    def has_stopped(self) -> bool:
        """Whether `patience` epochs have passed without a better validation error."""
        return bool(self.optimization.patience) and self.epoch - 1 - self.history.best >= self.optimization.patience

    def step(self, batch: Any, objective: Objective, progress: float) -> Tensor:
        """One update of the weights; returns loss and error, detached, float32 [2]."""
        factor = learning_rate_factor(self.optimization, progress, self.steps) * self.rate_share
        self.rate = self.optimization.learning_rate * factor
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * factor
        with autocast(self.generator.device, self.precision):
            outcome = objective(self.sharded, batch, progress, self.generator)
        loss, error = outcome if isinstance(outcome, LossAndError) else (outcome, outcome)
        self.module.zero_grad(set_to_none=True)
        (loss * distributed.world_size()).backward()  # type: ignore[no-untyped-call]
        if self.optimization.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.optimization.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.steps += 1
        if self.average is not None:
            self._update_average(self.average)
        return torch.stack([loss.detach().float(), error.detach().float()])

    def measure_start(self, validate: Validation, margin: float) -> None:
        """Measure the initial weights, which are `best` until an epoch is better by the share `margin`."""
        self.module.eval()
        with torch.inference_mode():
            error = validate(self.module) if distributed.is_main_process() else math.nan
        self.history.start, self.history.margin = distributed.broadcast(error), margin

    def finish(self) -> History:
        """Load the best weights into the module, in eval mode."""
        self.module.load_state_dict(self.best)
        self.module.eval()
        return self.history

    def forget_best(self) -> None:
        """Errors of other validation data cannot be compared: the next epoch is the best until another one is."""
        self.history.validation = [math.inf] * self.epoch
        self.history.best, self.history.start = -1, math.inf

    def close_epoch(self, loss: float, validate: Validation) -> bool:
        """Validate the module, or the running average if there is one; keep its weights if they are the best.

        Returns: whether the epoch diverged and was undone, see `_return_to_best`.
        """
        candidate = self.module if self.average is None else self.average
        candidate.eval()
        with torch.inference_mode():
            error = distributed.broadcast(validate(candidate) if distributed.is_main_process() else math.nan)
        is_start_best = self.history.best < 0
        best_error = self.history.start * (1 - self.history.margin) if is_start_best else self.history.best_error
        self.history.loss.append(loss)
        self.history.validation.append(error)
        if error < best_error or (is_start_best and not math.isfinite(best_error)):
            self.history.best = self.epoch - 1
            self.best = copy.deepcopy(candidate.state_dict())
        has_diverged = self.optimization.schedule == "cool-down" and error > DIVERGENCE * self.history.best_error
        if has_diverged:
            self._return_to_best()
        return has_diverged

    def _return_to_best(self) -> None:
        """Go on from the best weights, at half the rates, without what the optimizers gathered since."""
        self.module.load_state_dict(self.best)
        if self.average is not None:
            self.average.load_state_dict(self.best)
        self.optimizers = _optimizers(self.module, self.optimization)
        self.rate_share /= 2

    @torch.no_grad()
    def _update_average(self, average: nn.Module) -> None:
        decay = min(self.optimization.ema, (1 + self.steps) / (10 + self.steps))  # short memory while weights move fast
        torch._foreach_lerp_(list(average.parameters()), list(self.module.parameters()), 1 - decay)
        for target, source in zip(average.buffers(), self.module.buffers(), strict=True):
            target.copy_(source)

    def state(self) -> dict[str, object]:
        return {
            "module": self.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "generator": self.generator.get_state(),
            "steps": self.steps,
            "seconds": self.seconds,
            "rate_share": self.rate_share,
            "history": vars(self.history),
        }

    def restore(self, state: dict[str, object]) -> None:
        self.module.load_state_dict(state["module"])  # type: ignore[arg-type]
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):  # type: ignore[call-overload]
            optimizer.load_state_dict(values)
        if self.average is not None:
            self.average.load_state_dict(state["average"])  # type: ignore[arg-type]
        self.best = state["best"]  # type: ignore[assignment]
        self.generator.set_state(state["generator"])  # type: ignore[arg-type]
        self.steps = state["steps"]  # type: ignore[assignment]
        self.seconds = state.get("seconds", 0.0)  # type: ignore[assignment]  # checkpoints from before have none
        self.rate_share = state.get("rate_share", 1.0)  # type: ignore[assignment]
        self.history = History(**state["history"])  # type: ignore[arg-type]


def _optimizers(module: nn.Module, optimization: Optimization) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters; with "muon", Muon for the hidden layers' matrices and AdamW for the rest.

    The first and the last layer and all biases are AdamW's, as Muon's authors advise.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    hidden = [p for name, p in parameters.items() if p.dim() == 2 and not name.startswith(("first.", "last."))]
    muon_ids = {id(p) for p in hidden} if optimization.optimizer == "muon" else set()
    weights = [p for p in parameters.values() if p.dim() > 1 and id(p) not in muon_ids]
    biases = [p for p in parameters.values() if p.dim() <= 1]
    adamw = torch.optim.AdamW(
        [{"params": weights, "weight_decay": optimization.weight_decay}, {"params": biases, "weight_decay": 0.0}],
        lr=optimization.adamw_learning_rate if muon_ids else optimization.learning_rate,
        betas=(0.9, 0.99 if optimization.schedule != "constant" else 0.999),
        fused=True,  # on two cores a step of three million weights takes 0.4 of the time
    )
    if not muon_ids:
        return [adamw]
    return [Muon(hidden, lr=optimization.learning_rate, weight_decay=optimization.weight_decay), adamw]


def learning_rate_factor(optimization: Optimization, progress: float, steps: int = 0) -> float:
    """Factor (0..1) of the rate at `progress` (0..1) of the run.

    Linear warm-up, then 1, half a cosine to 0, or 1 and at last a line to 0. `steps`: steps made by all calls; with
    schedule "cool-down", which has no planned length, the warm-up takes WARMUP_STEPS of them.
    """
    if optimization.schedule == "cool-down":
        cooled = min(1.0, max(0.0, (1 - progress) / optimization.cool_down))
        return min(1.0, (steps + 1) / WARMUP_STEPS) * cooled
    warmup = min(1.0, progress / optimization.warmup + 1e-3) if optimization.warmup else 1.0
    decay = 0.5 + 0.5 * math.cos(math.pi * progress) if optimization.schedule == "cosine" else 1.0
    return warmup * decay


class _Clock:
    """How far a run is, by steps or by the clock.

    Args:
        total_steps: of the whole run, if `minutes` is None.
        minutes: see `fit`.
        seconds: of training before this call.
    """

    def __init__(self, optimization: Optimization, total_steps: int, minutes: float | None, seconds: float) -> None:
        self._optimization, self._total_steps, self._minutes = optimization, total_steps, minutes
        self._seconds_before = seconds
        self._start = self._epoch_start = time.monotonic()

    @property
    def total_seconds(self) -> float:
        """Seconds of training, all calls together."""
        return self._seconds_before + time.monotonic() - self._start

    def measure_progress(self, steps: int) -> float:
        """Share (0..1) of the run that is over after `steps` steps of all calls; 1 or more: the run is over."""
        if self._minutes is None:
            return steps / self._total_steps
        is_own_time = self._optimization.schedule == "cool-down"
        seconds = time.monotonic() - self._start if is_own_time else self.total_seconds
        return min(1.0, seconds / (60 * self._minutes)) if self._minutes else 1.0

    def is_checkpoint_due(self, samples: int) -> bool:
        """Whether an epoch, of which `samples` samples are done, has taken CHECKPOINT_SECONDS and may end early."""
        if not samples:
            self._epoch_start = time.monotonic()
        may_end_early = self._minutes is not None and self._optimization.schedule == "cool-down"
        return may_end_early and time.monotonic() - self._epoch_start > CHECKPOINT_SECONDS

    def is_cooling_down(self, steps: int) -> bool:
        """Whether the rate has begun to fall for the last time, so that a later call could not go on from here."""
        optimization = self._optimization
        return optimization.schedule == "cool-down" and self.measure_progress(steps) > 1 - optimization.cool_down


def choose_precision(precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" measures a convolution of 64 channels, forward and backward, in both."""
    if precision != "auto":
        return precision
    convolution = nn.Conv2d(64, 64, 3, padding=1).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.zeros(8, 64, 128, 128, device=device).contiguous(memory_format=torch.channels_last)

    def measure_seconds(candidate: str) -> float:
        seconds = math.inf
        for _ in range(3):
            start = time.perf_counter()
            with autocast(device, candidate):
                error = convolution(images).float().square().mean()
            error.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = min(seconds, time.perf_counter() - start)
        return seconds

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return min(("fp32", "bf16"), key=measure_seconds)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """torch.autocast to bfloat16 on `device` where `precision` is "bf16"; disabled for "fp32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
