"""Data-parallel training: each process of `torchrun` takes its share of a step's batches, and gradients are summed.

DistributedDataParallel wraps one `forward`; a step here calls parts of the network and leaves others out (private
norms of the precisions that it did not draw), so the gradients are summed here, once a step. A step has the recipe's
`accumulate` batches whatever the number of processes: the same recipe takes the same steps on one GPU or on many.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean

import torch
import torch.distributed as dist
from torch import Tensor, nn

from onebit_model.errors import RecipeError

PATIENCE = timedelta(hours=12)  # others wait while the first process caches a corpus or scores the dev set


@dataclass(frozen=True)
class Processes:
    """This process among those of one training."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes the log, the checkpoints and the caches."""
        return self.rank == 0

    def share(self, batches: int) -> range:
        """Which of a step's batches are this process's; raises RecipeError if they cannot be dealt out evenly."""
        if batches % self.count:
            raise RecipeError(
                f"optimizer.accumulate is {batches}, which {self.count} processes cannot share: "
                f"make it a multiple of {self.count}, with smaller batch_seconds"
            )
        return range(self.rank, batches, self.count)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()

    @torch.no_grad()
    def same_weights(self, network: nn.Module) -> None:
        """Everyone takes the first process's parameters and buffers."""
        if self.count > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum over all processes, as if one had seen all batches; what no process touched keeps no gradient."""
        if self.count == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        touched = torch.tensor([float(p.grad is not None) for p in trained], device=self.device)
        dist.all_reduce(touched)
        shared = [p for p, processes in zip(trained, touched.tolist(), strict=True) if processes]
        flat = torch.cat([_gradient(p).flatten() for p in shared])
        dist.all_reduce(flat)
        for parameter, summed in zip(shared, torch.split(flat, [p.numel() for p in shared]), strict=True):
            parameter.grad = summed.view_as(parameter)

    def mean_values(self, values: dict[str, list[float]]) -> dict[str, float]:
        """The mean of each logged value over everything that the processes have of it."""
        everyone = [values]
        if self.count > 1:
            everyone = [{} for _ in range(self.count)]
            dist.all_gather_object(everyone, values)
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: fmean(value for one in everyone for value in one.get(name, [])) for name in names}


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def join() -> Processes:
    """Take this process's place among those that `torchrun` started; alone without it."""
    gpu = torch.cuda.is_available()
    # cuDNN prepares itself for every new shape, and hardly two batches have the same.
    torch.backends.cudnn.enabled = False
    if "WORLD_SIZE" not in os.environ:
        return Processes(0, 1, torch.device("cuda" if gpu else "cpu"))
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size(), device)
