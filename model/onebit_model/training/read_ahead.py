"""Batches prepared by threads while the accelerator computes: decoding, resampling and augmentation release the GIL."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")

AHEAD = 2  # items in work or waiting, for each thread


def read_ahead(prepare: Callable[[Item], Prepared], items: Iterator[Item], threads: int) -> Iterator[Prepared]:
    """`map` in order, up to AHEAD items a thread early; with 0 threads at the moment of use."""
    if not threads:
        yield from map(prepare, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    try:
        waiting = deque(pool.submit(prepare, item) for item in islice(items, AHEAD * threads))
        while waiting:
            prepared = waiting.popleft().result()
            waiting.extend(pool.submit(prepare, item) for item in islice(items, 1))
            yield prepared
    finally:
        pool.shutdown(cancel_futures=True)
