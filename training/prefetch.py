"""Load batches while the network learns from the ones before."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

_Item = TypeVar("_Item")
_Loaded = TypeVar("_Loaded")


def loaded_ahead(
    items: Iterable[_Item], load: Callable[[_Item], _Loaded], workers: int = 1, ahead: int | None = None
) -> Iterator[tuple[_Item, _Loaded]]:
    """Each item with what `load` gives for it, or raises, in order; threads load some before they are asked for.

    Items are taken one by one, `ahead` before they are asked for: two a worker where None.
    """
    room = 2 * workers if ahead is None else ahead
    waiting: deque[tuple[_Item, Future[_Loaded]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(load, item)))
                if len(waiting) > room:
                    first, loading = waiting.popleft()
                    yield first, loading.result()
            while waiting:
                first, loading = waiting.popleft()
                yield first, loading.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def workers_for(device: torch.device) -> int:
    """One beside a CPU, which has its hands full with the network; several to keep up with a GPU."""
    return 1 if device.type == "cpu" else min(8, os.cpu_count() or 1)


def pinned(part: Any, device: torch.device) -> Any:
    """A tensor, or what knows how to pin its own, where a GPU fetches it without waiting; else as it is."""
    return part.pin_memory() if device.type == "cuda" and hasattr(part, "pin_memory") else part
