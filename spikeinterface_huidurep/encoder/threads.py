"""Torch's threads: one for each piece of work, where many pieces are done at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Within it torch computes each operation on one thread: several at once would multiply theirs, wait for each other
    and change sums with their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
