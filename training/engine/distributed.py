"""One training run in several processes, under `torchrun`; in a process of its own, all of this is nothing.

whole batch, drawn alike everywhere -> this process's share -> DistributedDataParallel -> gather -> the same loss
everywhere -> backward through this share -> gradients added up

Every process holds all data and draws the same numbers from the same seeded generator, so neither the batches nor the
noise depend on how many processes there are: a checkpoint goes on with another number of them. What may differ is the
order of a sum. The first process alone validates, writes and speaks.

Batch norm sees the whole batch on GPUs (SyncBatchNorm). torch has no such layer on the CPU: there each process
normalises its share by itself, as with a smaller batch, and the first one's running averages are kept. Of a small
autoencoder of drawings the best error was then 0.0469 with two processes, 0.0465 with one, 0.0477 with another seed.
"""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import RecipeError
from training.recipe import AutoencoderRecipe, Recipe

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # the others wait while the first one makes data or validates


@contextmanager
def process_group() -> Iterator[None]:
    """Within, the processes that torchrun started know each other: by gloo on the CPU, by nccl between GPUs."""
    if not dist.is_torchelastic_launched():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this process is the one that validates, writes and speaks."""
    return not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


def local_gpu() -> str:
    """This process's GPU of this machine; RecipeError if there are fewer GPUs than processes."""
    if not dist.is_initialized():
        return "cuda"
    here, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if here > there:
        raise RecipeError(f"{here} processes and {there} GPUs; give torchrun --nproc-per-node {there}, or --device cpu")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return f"cuda:{os.environ['LOCAL_RANK']}"


def refuse_torchrun(what: str) -> None:
    """RecipeError under torchrun: `what` trains in one process."""
    if dist.is_torchelastic_launched():
        raise RecipeError(f"{what} trains in one process; run it without torchrun")


def check_batch_sizes(recipe: Recipe) -> None:
    """RecipeError if a batch of the recipe cannot be shared out evenly."""
    sizes = {"optimization": recipe.optimization.batch_size}
    if isinstance(recipe, AutoencoderRecipe) and recipe.pretraining is not None:
        sizes["pretraining"] = recipe.pretraining.batch_size
    for section, size in sizes.items():
        if size % world_size():
            raise RecipeError(
                f"{section}.batch_size is {size}, which {world_size()} processes cannot share evenly; "
                f"choose another --nproc-per-node, or --set {section}.batch_size={size + -size % world_size()}"
            )


def broadcast(value: T) -> T:
    """The first process's value, in all of them; who waits for it has waited for all that came before."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


@contextmanager
def main_process_first() -> Iterator[None]:
    """The first process does it alone, then all others do: what it downloads or makes is there for them.

    If it fails, it says why, and the others end with its exit code.
    """
    if is_main_process():
        try:
            yield
        except BaseException:
            broadcast(value=False)
            raise
        broadcast(value=True)
    elif broadcast(value=False):
        yield
    else:
        raise SystemExit(2)


def exit_unless_main() -> None:
    """What follows is for the first process alone: the others end here, with exit code 0."""
    if not is_main_process():
        raise SystemExit(0)


def shard(module: nn.Module) -> nn.Module:
    """What a training step calls instead of `module`: the same weights, and each process computes its share."""
    return ShardedModule(module) if dist.is_initialized() else module


class ShardedModule(nn.Module):
    """[B,...], the same in every process -> [B,...], the outputs for all of it, in training mode.

    Only this process's share carries gradients, so a loss of all outputs is the whole batch's, whatever its formula,
    and the whole batch's gradient is the sum over processes. DistributedDataParallel takes the mean: multiply the loss
    by `world_size()`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        twin = copy.deepcopy(module, tensors).train()  # other layers, the same weights
        if next(module.parameters()).is_cuda:
            twin = nn.SyncBatchNorm.convert_sync_batchnorm(twin)  # type: ignore[no-untyped-call]
        self.parallel = DistributedDataParallel(twin)

    def forward(self, whole: Tensor) -> Tensor:
        share = max(2, -(-len(whole) // world_size()))  # 2: batch norm cannot normalise one vector
        mine = torch.arange(share, device=whole.device) + share * dist.get_rank()
        output = self.parallel(whole[mine.clamp(max=len(whole) - 1)])  # what is too many is cut off again
        parts = [torch.empty(output.shape, dtype=output.dtype, device=output.device) for _ in range(world_size())]
        dist.all_gather(parts, output.detach().contiguous())
        parts[dist.get_rank()] = output
        return torch.cat(parts)[: len(whole)]
