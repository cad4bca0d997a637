"""The optimizer Muon: momentum, made orthogonal before each step.

gradient -> Nesterov momentum -> orthogonal by five Newton-Schulz iterations -> scaled to AdamW's size -> step

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the scale is that of Liu et al.,
"Muon is Scalable for LLM Training" (2025), section 2.2: 0.2 * sqrt(longer side), so that AdamW's learning rates fit.

torch.optim.Muon does the same, but always iterates in bfloat16: on a processor without bfloat16 instructions that took
three quarters of a training step. This one iterates in float32, and batches matrices of equal shape.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Steps on matrices [m,n] only; `weight_decay` is decoupled, as AdamW's."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        if any(matrix.dim() != 2 for group in self.param_groups for matrix in group["params"]):
            raise ValueError("Muon steps on matrices only")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for matrices in shapes.values():
                self._step(matrices, **{key: group[key] for key in ("lr", "weight_decay", "momentum")})

    def _step(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        directions = []
        for matrix in matrices:
            if matrix.grad is None:
                raise AssertionError("This is a bug: only matrices with a gradient are stepped on")
            state = self.state[matrix]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(matrix)
            state["momentum"].lerp_(matrix.grad, 1 - momentum)
            directions.append(matrix.grad.lerp(state["momentum"], momentum))
        steps = orthogonalize(torch.stack(directions))
        for matrix, step in zip(matrices, steps, strict=True):
            matrix.mul_(1 - lr * weight_decay)
            matrix.add_(step, alpha=-lr * 0.2 * math.sqrt(max(matrix.shape)))


def orthogonalize(matrices: Tensor) -> Tensor:
    """[k,m,n] -> [k,m,n], singular values brought near 1 (0.7 to 1.2) by a quintic Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.transpose(1, 2) if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    return x.transpose(1, 2) if is_tall else x
