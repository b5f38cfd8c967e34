"""
Where the heavy stages compute: numpy and numba on the processor, or torch on a GPU.

A stage that can use a GPU takes the name of a device. "cpu" is its own code; with any other name it makes a subclass of
`OnDevice` from a file of its own, which takes and returns the same arrays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("spikeinterface_huidurep")

CPU = "cpu"
# so many cores filter the traces faster than a GPU, which the traces have to reach and to leave: docs/gpu.md
MANY_JOBS = 8
Result = TypeVar("Result")


def compute_device(device: str) -> str:
    """
    What the stages take for the parameter `device`.

    Parameters
    ----------
    device : str
        See `encoder.device.choose_device`.

    Returns
    -------
    str
        "cpu", or the name of the device on which torch computes.

    Raises
    ------
    ValueError
        If torch does not see that device.
    """
    if device == CPU:
        return CPU
    from ..encoder.device import TORCH_ON_CPU, choose_device

    chosen = choose_device(device)
    if device == TORCH_ON_CPU:
        return TORCH_ON_CPU
    return str(chosen)


def jobs_on(device: str, job_kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    SpikeInterface's job parameters for a device: the jobs on a GPU are threads.

    Each process would take half a GB of the GPU for itself, and one that is forked from a process in which CUDA runs
    cannot use it.

    Parameters
    ----------
    device : str
        As `compute_device` has it.
    job_kwargs : dict

    Returns
    -------
    dict
    """
    if device == CPU or job_kwargs.get("pool_engine", "thread") == "thread":
        return job_kwargs
    logger.info("jobs are threads, not processes: they share %s", device)
    return {**job_kwargs, "pool_engine": "thread", "mp_context": None}


def filters_on(device: str, job_kwargs: dict[str, Any]) -> str:
    """
    Where the band-pass is computed: on the device, unless there are many jobs.

    Parameters
    ----------
    device : str
        As `compute_device` has it.
    job_kwargs : dict
        SpikeInterface's, with `n_jobs` as a number of jobs.

    Returns
    -------
    str
        As `compute_device` has it.
    """
    return CPU if job_kwargs.get("n_jobs", 1) >= MANY_JOBS else device


@lru_cache
def _lock_of(device: str) -> RLock:
    """One for each device: a chunk at a time is on it, so that its memory need not hold as many as there are jobs."""
    return RLock()


class OnDevice:
    """
    A stage's work on a device.

    Parameters
    ----------
    device : str
        As `compute_device` has it, but not "cpu".
    stage : str
        For the log.
    """

    def __init__(self, device: str, stage: str):
        from ..encoder.device import choose_device

        self.device, self.torch_device, self.stage = device, choose_device(device), stage
        # rows that are worked on at once, by what is done with them; halved where memory is short
        self.sizes: dict[str, int] = {}
        self.gave_up = False

    def tensor(self, values: np.ndarray | Tensor) -> Tensor:
        """An array on the device, in single precision or as integers as there."""
        if isinstance(values, np.ndarray):
            values = self._ready(values)
        return values.to(self.torch_device, non_blocking=True)

    def _ready(self, values):
        """An array as a tensor that can be sent to the device."""
        import torch

        if values.dtype == np.float64:
            values = values.astype("float32")
        elif values.dtype.kind == "u" and values.dtype.itemsize > 1:
            values = values.astype("float32")
        here = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        # several times as fast as from memory that the system may swap; torch uses it again and again
        return here.pin_memory() if self.torch_device.type == "cuda" else here

    def array(self, values: Tensor) -> np.ndarray:
        """A tensor of the device as an array that may be written to."""
        import torch

        if self.torch_device.type != "cuda":
            return values.cpu().contiguous().numpy()
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values)
        return here.numpy()

    def in_batches(self, name: str, n: int, work: Callable[[slice], None]) -> None:
        """Do the work on `n` rows, on all at once where the memory holds that, else on ever smaller batches."""
        from ..encoder.device import in_batches

        size = self.sizes.get(name, n)
        fits = in_batches(slice(0, n), size, work)
        if fits < size:
            self.sizes[name] = fits

    def attempt(self, on_device: Callable[..., Result], on_cpu: Callable[..., Result], *args: Any) -> Result:
        """
        Do it on the device, or on the processor where the device has too little memory, or cannot do it at all.

        Parameters
        ----------
        on_device, on_cpu : callable
            Give the same for the same arguments.
        *args
            Arrays, and lists of arrays, come to `on_device` as tensors on the processor, for `tensor`.

        Returns
        -------
        What they give.
        """
        import torch

        from ..encoder.device import free_memory, is_out_of_memory

        try:
            # while another chunk is on the device
            ready = [self._all_ready(argument) for argument in args]
            with _lock_of(str(self.torch_device)), torch.inference_mode():
                return on_device(*ready)
        except RuntimeError as error:
            # the second is what torch raises for what it lacks on a device
            if not is_out_of_memory(error) and not isinstance(error, NotImplementedError):
                raise
            if not self.gave_up:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                logger.warning("%s: on the processor, where %s cannot: %s", self.stage, self.device, reason)
            self.gave_up = True
        free_memory()
        return on_cpu(*args)

    def _all_ready(self, argument):
        if isinstance(argument, list):
            return [self._all_ready(one) for one in argument]
        return self._ready(argument) if isinstance(argument, np.ndarray) else argument
