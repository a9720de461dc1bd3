"""The benchmarks that papers report on, and whether a folder holds one of them or something of that name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.files import hash_json
from mea_plugin.evaluation.pairs import bare_name

__all__ = ['BENCHMARKS', 'Benchmark', 'BenchmarkCheck', 'check_benchmark', 'find_benchmark', 'hash_names']

_CUT = 12
"""Copies are cut to a multiple of a scale: of 12 at most, for x2, x3 and x4 alike."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Benchmark:
    """A published test set.

    Attributes:
        name: As papers write it.
        aliases: Other names of folders; case, ``-`` and ``_`` do not matter.
        count: How many images.
        names: Hashes of the names that copies of it have (:func:`hash_names`).
        sizes: The ground truth's heights and widths in the order of the names; empty where they are not known.
        fits: Whether a height and width can be one of its; another way to check sizes, with ``rule`` in words.
        rule: See ``fits``.
    """

    name: str
    aliases: tuple[str, ...]
    count: int
    names: tuple[str, ...]
    sizes: tuple[Size, ...] = ()
    fits: Callable[[int, int], bool] | None = None
    rule: str = ''


@dataclass(frozen=True)
class BenchmarkCheck:
    """Whether a test set is the benchmark that it is called after.

    Attributes:
        name: The benchmark's.
        notes: What is different; none where it is the real one.
    """

    name: str
    notes: tuple[str, ...]

    @property
    def is_real(self) -> bool:
        """Whether nothing is different."""
        return not self.notes

    def to_json(self) -> dict[str, Any]:
        """As it stands in evaluation.json."""
        return {'name': self.name, 'is_real': self.is_real, 'notes': list(self.notes)}


def hash_names(names: Sequence[str]) -> str:
    """The first 16 digits of a hash of image names, independent of their order and of how copies write them.

    ``img_001``, ``img001`` and ``IMG-001`` are one name, so are ``That'sIzumiko`` and ``ThatsIzumiko_000``.
    """
    return hash_json(sorted(_plain(re.sub(r'_0+$', '', name)) for name in names))[:16]


def find_benchmark(name: str) -> Benchmark | None:
    """The benchmark that a test set is called after, if any; ``Set5`` and ``Set5 x4`` are."""
    plain = _plain(re.sub(r'[ _-]?x\d+$', '', name, flags=re.IGNORECASE))
    return next((one for one in BENCHMARKS if plain in map(_plain, (one.name, *one.aliases))), None)


def check_benchmark(benchmark: Benchmark, paths: Sequence[Path], sizes: Sequence[Size]) -> BenchmarkCheck:
    """Compare count, names and sizes of a test set with the published one.

    Args:
        benchmark: Which one.
        paths: Its images: the ground truth, or the queries where there is none.
        sizes: Height and width of the ground truth of each; empty where there is none.
    """
    notes = []
    if len(paths) != benchmark.count:
        notes.append(f'{len(paths)} images instead of {benchmark.count}')
    elif hash_names([bare_name(path) for path in paths]) not in benchmark.names:
        notes.append('other names of images than any known copy')
    if sizes and not _sizes_fit(benchmark, sizes):
        notes.append(f'other sizes of images: {benchmark.rule}' if benchmark.rule else 'other sizes of images')
    return BenchmarkCheck(benchmark.name, tuple(notes))


def _sizes_fit(benchmark: Benchmark, sizes: Sequence[Size]) -> bool:
    if benchmark.fits:
        return all(benchmark.fits(*size) for size in sizes)
    if not benchmark.sizes or len(sizes) != benchmark.count:
        return True  # nothing to check, or said already
    return all(
        abs(height - other[0]) < _CUT and abs(width - other[1]) < _CUT
        for (height, width), other in zip(sizes, benchmark.sizes, strict=True)
    )


def _plain(name: str) -> str:
    return re.sub(r'[^a-z0-9]', '', name.lower())


def _numbered(pattern: str, count: int, first: int = 1) -> str:
    return hash_names([pattern.format(index) for index in range(first, first + count)])


def _is_bsd(height: int, width: int) -> bool:
    return 0 <= 481 - max(height, width) < _CUT and 0 <= 321 - min(height, width) < _CUT


def _is_urban(height: int, width: int) -> bool:
    return max(height, width) >= 980


def _is_div2k(height: int, width: int) -> bool:
    return 0 <= 2040 - max(height, width) < _CUT


BENCHMARKS = (
    Benchmark(
        'Set5',
        (),
        5,
        (hash_names(['baby', 'bird', 'butterfly', 'head', 'woman']), _numbered('img_{:03d}', 5)),
        sizes=((512, 512), (288, 288), (256, 256), (280, 280), (344, 228)),
    ),
    Benchmark(
        'Set14',
        (),
        14,
        (
            hash_names(
                [
                    *('baboon', 'barbara', 'bridge', 'coastguard', 'comic', 'face', 'flowers'),
                    *('foreman', 'lenna', 'man', 'monarch', 'pepper', 'ppt3', 'zebra'),
                ]
            ),
            _numbered('img_{:03d}', 14),
        ),
        sizes=(
            *((480, 500), (576, 720), (512, 512), (288, 352), (361, 250), (276, 276), (362, 500)),
            *((288, 352), (512, 512), (512, 512), (512, 768), (512, 512), (656, 529), (391, 586)),
        ),
    ),
    Benchmark(
        'BSD100',
        ('B100', 'BSDS100'),
        100,
        ('acd5f039c20b459d', _numbered('img_{:03d}', 100)),
        fits=_is_bsd,
        rule='481x321 pixels, or cut a little, in either orientation',
    ),
    Benchmark(
        'Urban100',
        (),
        100,
        (_numbered('img_{:03d}', 100),),
        fits=_is_urban,
        rule='the longer side of some is below 980 pixels, as in a reduced copy',
    ),
    Benchmark('Manga109', (), 109, ('7a7d584822d56471',)),
    Benchmark(
        'DIV2K validation',
        ('DIV2K', 'DIV2K_val', 'DIV2K100', 'DIV2K_valid', 'DIV2K_valid_HR', 'DIV2K_validation_HR'),
        100,
        (_numbered('{:04d}', 100, 801), _numbered('{:04d}', 100)),
        fits=_is_div2k,
        rule='a longer side of 2040 pixels, or cut a little',
    ),
)
"""In the order in which papers list them. Names of BSD100 and Manga109 are hashed: the former are those of BSDS300's
test images, the latter the data set's 109 titles."""
