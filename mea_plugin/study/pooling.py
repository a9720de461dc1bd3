"""Which cells a mean over configurations is taken of, where some are missing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

__all__ = ['largest_block']

_Name = TypeVar('_Name', bound=Hashable)


def largest_block(seeds: Mapping[_Name, Iterable[int]]) -> tuple[list[_Name], list[int]]:
    """The configurations and seeds without a gap that hold the most pairs of cells.

    Seeds are crossed with configurations in a mean over both, so each configuration must have each seed. The block
    maximises ``seeds x configurations``; among equal ones it has more seeds, since those carry the interval. It depends
    on which cells there are, never on their values.

    Args:
        seeds: Finished seeds by configuration.

    Returns:
        Configurations in their order, and seeds; both empty without any.
    """
    sets = {name: frozenset(of) for name, of in seeds.items()}
    candidates: set[frozenset[int]] = set()
    for one in sets.values():
        candidates |= {one} | {one & other for other in candidates}
    candidates.discard(frozenset())
    if not candidates:
        return [], []

    def size(block: frozenset[int]) -> tuple[int, int, list[int]]:
        count = sum(block <= one for one in sets.values())
        return len(block) * count, len(block), sorted((-seed for seed in block), reverse=True)

    best = max(candidates, key=size)
    return [name for name, one in sets.items() if best <= one], sorted(best)
