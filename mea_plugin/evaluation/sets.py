"""Test sets, looked through before the first model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import image_header, list_images
from mea_plugin.evaluation.benchmark_sets import BenchmarkCheck, check_benchmark, find_benchmark
from mea_plugin.evaluation.pairs import EvaluationSet, ImagePair, check_colours, check_pairs, list_pairs

__all__ = ['CheckedSet', 'check_folders', 'check_sets']


@dataclass(frozen=True)
class CheckedSet:
    """A test set that can be used.

    Attributes:
        name: How tables call it.
        pairs: Its images.
        has_truth: Whether they have a ground truth.
        target: The images that answers shall look like.
        benchmark: Whether it is the benchmark that it is called after, where it is called after one.
    """

    name: str
    pairs: list[ImagePair]
    has_truth: bool
    target: list[Path] = field(default_factory=list)
    benchmark: BenchmarkCheck | None = None


def check_folders(test_sets: Sequence[EvaluationSet], *, prefix: str = '') -> None:
    """Check what needs no model: that folders are there, and names of images match.

    Args:
        test_sets: In the order of the option file.
        prefix: The option file, for errors.

    Raises:
        InputError: A folder is missing or empty, or a file has no partner.
    """
    for one in test_sets:
        where = f'{prefix}test_sets.{one.name}'
        list_pairs(one, where=where)
        if one.target is not None:
            list_images(one.target, where=f'{where}.target')


def check_sets(test_sets: Sequence[EvaluationSet], *, scale: int, border: int, prefix: str = '') -> list[CheckedSet]:
    """List every test set and look at every image's header.

    A benchmark may hold grey images among colour ones, as Set14 does; both toolboxes make three equal channels of them.

    Args:
        test_sets: In the order of the option file.
        scale: Of the models.
        border: Pixels that are cut at each edge.
        prefix: The option file, for errors.

    Raises:
        InputError: There is none, two have the same name, or one cannot be used.
    """
    names = [one.name for one in test_sets]
    if not names:
        raise InputError('there is no test set', where=f'{prefix}test_sets', do='Add one: its name and a folder lq')
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two test sets are called '{name}'", where=f'{prefix}test_sets', do='Rename one')
    return [_check(one, scale, border, f'{prefix}test_sets.{one.name}') for one in test_sets]


def _check(test_set: EvaluationSet, scale: int, border: int, where: str) -> CheckedSet:
    if test_set.lq is None and (test_set.gt is None or scale == 1):
        do = 'Give the images to ask about as lq' if scale == 1 else 'Give lq, gt or both'
        raise InputError(f'{test_set.name} has no lq', where=where, do=do)
    pairs = list_pairs(test_set, where=where)
    benchmark = find_benchmark(test_set.name)
    sizes = check_pairs(pairs, scale=scale, border=border, grey_too=benchmark is not None)
    target = list_images(test_set.target, where=f'{where}.target') if test_set.target is not None else []
    check_colours({path: image_header(path) for path in target})
    check = None
    if benchmark:
        paths = [pair.gt or pair.path for pair in pairs]
        check = check_benchmark(benchmark, paths, sizes)
    return CheckedSet(test_set.name, pairs, test_set.gt is not None, target, check)
