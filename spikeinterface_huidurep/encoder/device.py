"""Which device torch computes on, and batches that shrink where its memory is too short."""

from __future__ import annotations

from collections.abc import Callable

import torch

# the processor, but by the code for GPUs: with it that code is tested where there is no GPU
TORCH_ON_CPU = "cpu:torch"
# what the errors say that torch raises where memory is too short, other than its own kind of error
_NO_MEMORY = ("out of memory", "ALLOC_FAILED")


def choose_device(device: str) -> torch.device:
    """
    The device that a name stands for.

    Parameters
    ----------
    device : str
        ``"auto"`` is CUDA where there is one, otherwise the CPU; ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not see that device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device("cpu" if device == TORCH_ON_CPU else device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but torch sees no CUDA device")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA device(s)")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {device!r} was asked for, but torch sees no GPU of an Apple computer")
    return chosen


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that memory is too short: torch has an error for that, but not all devices raise it."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)


def free_memory() -> None:
    """Give back what torch keeps for itself of a GPU's memory."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def in_batches(rows: slice, size: int, work: Callable[[slice], None]) -> int:
    """
    Do the work on batches of some rows; where memory is too short for a batch, on smaller ones from then on.

    Parameters
    ----------
    rows : slice
        With a start and a stop.
    size : int
        Rows of a batch.
    work : callable
        Of a batch's rows. It may be called again with a part of them.

    Returns
    -------
    int
        The size of batches for which there was memory.

    Raises
    ------
    RuntimeError
        If the memory does not hold a single row, or for another reason of the work's own.
    """
    first = rows.start
    while first < rows.stop:
        batch = slice(first, min(rows.stop, first + size))
        try:
            work(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch.stop - batch.start == 1:
                raise
            fits = False
        else:
            fits = True
        if fits:
            first = batch.stop
        else:
            # not before the error is gone, which holds what the work had made
            size = (batch.stop - batch.start) // 2
            free_memory()
    return size
