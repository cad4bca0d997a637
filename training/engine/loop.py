"""The loop: fit a module to an objective; checkpoint, resume, stop early, stop loudly.

batch -> objective(module, batch, progress, generator) -> loss -> backward -> step -> [running average]; per epoch:
validation error -> best weights -> checkpoint. All randomness comes from one generator whose state is in the
checkpoint, so a run killed at any moment and started again ends with the same weights (same machine, CPU). Under
torchrun several processes share each batch (`processes.py`).
"""

import copy
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.engine import checkpoint, distributed
from training.engine.muon import Muon
from training.errors import NotFinite, TrainingError
from training.recipe import Optimization

Objective = Callable[[nn.Module, Tensor, float, torch.Generator], Tensor]
"""(module, samples [B,...] as stored, progress of the run 0..1, generator) -> scalar loss"""
Validate = Callable[[nn.Module], float]
"""(module in eval mode) -> validation error"""


@dataclass
class History:
    """One entry per epoch: mean training loss, validation error. `best` is the epoch (from 0) that was kept."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: int = -1


def fit(
    module: nn.Module,
    train: Tensor,
    objective: Objective,
    validate: Validate,
    plan: Optimization,
    *,
    generator: torch.Generator,
    file: Path,
    fingerprint: str,
    title: str,
) -> History:
    """Train `module` in place; it ends with the weights of its best epoch, in eval mode.

    Args:
        train: all training samples as stored, on the module's device: uint8 [N,H,W,C] or float32 [N,D].
        objective, validate: what is minimised, and what chooses the best epoch.
        generator: the only source of randomness, on the module's device.
        file: the checkpoint, written after every epoch; if it is of this `fingerprint`, the run resumes from it.
        title: stands before the progress bar.
    Raises:
        NotFinite: the loss became NaN or infinite.
        DiskError: a checkpoint could not be written.
        TrainingError: batches of one sample, and batch norm.
    """
    run = _Run(module, plan, generator)
    steps = steps_of_epoch(len(train), plan.batch_size)
    if min(plan.batch_size, len(train)) == 1 and any(isinstance(part, nn.BatchNorm1d) for part in module.modules()):
        raise TrainingError(
            f"{title}: batches of one sample (batch_size {plan.batch_size}, {len(train)} training samples) cannot be "
            "normalised; batch norm needs two or more, or architecture.batch_norm = false where that is a key"
        )
    first = distributed.is_first()
    state = distributed.from_first(checkpoint.load(file, fingerprint) if first else None)
    if state is not None:
        run.restore(state)
        if run.epoch < plan.epochs and first:
            print(f"{title}: resuming after epoch {run.epoch} of {plan.epochs}", file=sys.stderr)  # noqa: T201
    quiet = None if first else True  # None: unless stderr is a terminal
    bar = tqdm(total=plan.epochs * steps, initial=run.epoch * steps, desc=title, unit="step", disable=quiet)
    last_line = time.monotonic()
    with bar:
        while run.epoch < plan.epochs and not run.stopped:
            module.train()
            total = torch.zeros((), device=train.device)
            order = torch.randperm(len(train), generator=generator, device=train.device)
            for index, chosen in enumerate(_batches(order, plan.batch_size)):
                progress = (run.epoch * steps + index) / (plan.epochs * steps)
                loss = run.step(train[chosen], objective, progress)
                total += loss * len(chosen)
                bar.update()
            mean = float(total) / len(train)
            if not math.isfinite(mean):
                raise NotFinite(
                    f"{title}: the loss became {mean} in epoch {run.epoch + 1} (learning rate {run.rate:.2g}); "
                    f"lower optimization.learning_rate; the checkpoint of the epoch before is kept in {file}"
                )
            run.close_epoch(mean, validate)
            if not first:
                continue
            checkpoint.save(file, {"fingerprint": fingerprint, **run.state()})
            bar.set_postfix(loss=f"{mean:.5f}", val=f"{run.history.validation[-1]:.5f}")
            if bar.disable and (time.monotonic() - last_line > 10 or run.epoch == plan.epochs):
                last_line = time.monotonic()
                print(  # noqa: T201
                    f"{title}: epoch {run.epoch}/{plan.epochs}  loss {mean:.5f}  val {run.history.validation[-1]:.5f}",
                    file=sys.stderr,
                )
    if run.stopped and first:
        print(  # noqa: T201
            f"{title}: stopped early after epoch {run.epoch}, epoch {run.history.best + 1} was the best",
            file=sys.stderr,
        )
    module.load_state_dict(run.best)
    module.eval()
    return run.history


def steps_of_epoch(samples: int, batch_size: int) -> int:
    """How many batches `fit` makes of so many samples."""
    return len(_batches(torch.arange(samples), batch_size))


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """`order` in parts of `size`; one sample left over goes with those before it, as batch norm needs two."""
    parts = list(torch.split(order, size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


class _Run:
    """What changes while fitting, and what a checkpoint must hold to go on exactly."""

    def __init__(self, module: nn.Module, plan: Optimization, generator: torch.Generator) -> None:
        self.module, self.plan, self.generator = module, plan, generator
        self.shared = distributed.shared(module)
        self.optimizers = _optimizers(module, plan)
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.average = copy.deepcopy(module) if plan.ema else None
        self.best = copy.deepcopy(module.state_dict())
        self.history = History()
        self.steps = 0
        self.rate = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history.loss)

    @property
    def stopped(self) -> bool:
        return bool(self.plan.patience) and self.epoch - 1 - self.history.best >= self.plan.patience

    def step(self, batch: Tensor, objective: Objective, progress: float) -> Tensor:
        """One update; returns the loss, detached."""
        share = learning_rate(self.plan, progress)
        self.rate = self.plan.learning_rate * share
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * share
        with autocast(batch.device, self.plan.precision):
            loss = objective(self.shared, batch, progress, self.generator)
        self.module.zero_grad(set_to_none=True)
        (loss * distributed.count()).backward()  # type: ignore[no-untyped-call]
        if self.plan.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.steps += 1
        if self.average is not None:
            self._update_average(self.average)
        return loss.detach().float()

    def close_epoch(self, loss: float, validate: Validate) -> None:
        chosen = self.module if self.average is None else self.average
        chosen.eval()
        with torch.inference_mode():
            error = distributed.from_first(validate(chosen) if distributed.is_first() else math.nan)
        self.history.loss.append(loss)
        self.history.validation.append(error)
        if self.history.best < 0 or error < self.history.validation[self.history.best]:
            self.history.best = self.epoch - 1
            self.best = copy.deepcopy(chosen.state_dict())

    @torch.no_grad()
    def _update_average(self, average: nn.Module) -> None:
        decay = min(self.plan.ema, (1 + self.steps) / (10 + self.steps))  # short memory while weights still run
        torch._foreach_lerp_(list(average.parameters()), list(self.module.parameters()), 1 - decay)
        for mine, theirs in zip(average.buffers(), self.module.buffers(), strict=True):
            mine.copy_(theirs)

    def state(self) -> dict[str, object]:
        return {
            "module": self.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "generator": self.generator.get_state(),
            "steps": self.steps,
            "history": vars(self.history),
        }

    def restore(self, state: dict[str, object]) -> None:
        self.module.load_state_dict(state["module"])  # type: ignore[arg-type]
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):  # type: ignore[call-overload]
            optimizer.load_state_dict(its)
        if self.average is not None:
            self.average.load_state_dict(state["average"])  # type: ignore[arg-type]
        self.best = state["best"]  # type: ignore[assignment]
        self.generator.set_state(state["generator"])  # type: ignore[arg-type]
        self.steps = state["steps"]  # type: ignore[assignment]
        self.history = History(**state["history"])  # type: ignore[arg-type]


def _optimizers(module: nn.Module, plan: Optimization) -> list[torch.optim.Optimizer]:
    """AdamW for all, or Muon for the matrices that stand between others, and AdamW for the rest.

    The first and the last layer and all biases are AdamW's, as Muon's authors advise.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    inner = [p for name, p in parameters.items() if p.dim() == 2 and not name.startswith(("first.", "last."))]
    hidden = {id(p) for p in inner} if plan.optimizer == "muon" else set()
    matrices = [p for p in parameters.values() if p.dim() > 1 and id(p) not in hidden]
    others = [p for p in parameters.values() if p.dim() <= 1]
    adamw = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=plan.adamw_learning_rate if hidden else plan.learning_rate,
        betas=(0.9, 0.99 if plan.schedule != "constant" else 0.999),
        fused=True,  # on two cores a step of three million weights takes 0.4 of the time
    )
    if not hidden:
        return [adamw]
    return [Muon(inner, lr=plan.learning_rate, weight_decay=plan.weight_decay), adamw]


def learning_rate(plan: Optimization, progress: float) -> float:
    """The share of the rate at `progress` (0..1) of the run: linear warm-up, then 1, or half a cosine down to 0."""
    rise = min(1.0, progress / plan.warmup + 1e-3) if plan.warmup else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * progress) if plan.schedule == "cosine" else 1.0
    return rise * fall


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
