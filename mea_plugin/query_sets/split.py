"""Query sets for training, validation and test, from one."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_json
from mea_plugin.core.folders import count_files, is_made, written_aside
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch import BatchResult
from mea_plugin.query_sets.finished import SIDES, FinishedSet, write_manifests
from mea_plugin.query_sets.layout import MANIFEST, Pair

__all__ = ['link_or_copy', 'parse_parts', 'split_query_set']

_CROP = re.compile(r'(_s\d{3,})+')
_NAME = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9._-]*')


def parse_parts(texts: list[str], *, where: str = '--parts') -> dict[str, int | float]:
    """``['train=0.9', 'val=0.1']`` or ``['train=900', 'val=100']`` as numbers by name.

    Raises:
        InputError: A part has no name or no number, or stands there twice.
    """
    parts: dict[str, int | float] = {}
    for text in texts:
        name, _, number = text.partition('=')
        try:
            value = int(number) if number.isdecimal() else float(number)
        except ValueError:
            raise InputError(f"'{text}' is not NAME=NUMBER", where=where, do='Write train=0.9 or train=900') from None
        if name in parts:
            raise InputError(f"'{name}' is there twice", where=where, do='Name each part once')
        parts[name] = value
    return parts


def split_query_set(
    source: str | Path, output: str | Path, *, parts: Mapping[str, int | float], seed: int = 0, jobs: int = 1
) -> BatchResult:
    """Split a query set into ``OUTPUT/NAME`` for each part; all appear when all are whole.

    Crops of one image (``a_s001``, ``a_s002``, as the commands crop and sub-images call them) stay together; where they
    make the wished number impossible, a part gets the nearest one. Files are hard links where the file system has them.

    Args:
        source: A complete query set.
        output: Folder for the result; new or empty, or this result already.
        parts: Name to a fraction of the pairs (above 0, together at most 1; the rest is left out) or, in all of them,
            to a number of pairs.
        seed: Of the order in which images are dealt out.
        jobs: Processes to check the query set with.

    Returns:
        How many pairs the parts have together.

    Raises:
        InputError: The query set is incomplete or damaged, the parts do not fit it, or the output folder holds
            something else.
    """
    output = expanded(output)
    parent = FinishedSet.load(source)
    made_by: dict[str, Any] = {'command': 'split', 'parts': dict(parts), 'seed': seed, 'parent': parent.content}
    dealt = _deal(parent.pairs, _counts(parts, len(parent.pairs)), seed)
    count = sum(map(len, dealt.values()))
    if is_made(output, made_by):
        return BatchResult(made=0, kept=count)
    parent.verify(jobs=jobs)
    with written_aside(output) as aside:
        for name, pairs in dealt.items():
            _write(aside / name, parent, pairs, {**made_by, 'part': name})
        write_json(aside / MANIFEST, {'made_by': made_by, 'files': count_files(aside)})
    return BatchResult(made=count, kept=0)


def _counts(parts: Mapping[str, int | float], total: int) -> dict[str, int]:
    """How many pairs each part should have."""
    fractions = [isinstance(value, float) for value in parts.values()]
    if len(parts) < 2 or (any(fractions) and not all(fractions)):
        raise InputError(
            'give two or more parts, all by a fraction or all by a count',
            where='--parts',
            do='Write train=0.9 val=0.1 or train=900 val=100',
        )
    for name, value in parts.items():
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' is no folder name", where='--parts', do='Use letters, digits, . _ -')
        if not value > 0:
            raise InputError(f"'{name}' is {value}", where='--parts', do='Give a number above 0')
    whole, together = 1 if all(fractions) else total, sum(parts.values())
    if not together <= whole + 1e-9:
        what = f'the parts are {round(together, 6)} together, more than {whole}'
        raise InputError(what, where='--parts', do='Lower one of them')
    ends, so_far = [0], 0.0
    for value in parts.values():
        so_far += value
        ends.append(round(so_far * total) if all(fractions) else round(so_far))
    return {name: end - start for name, start, end in zip(parts, ends, ends[1:], strict=False)}


def _deal(pairs: tuple[Pair, ...], counts: Mapping[str, int], seed: int) -> dict[str, list[Pair]]:
    """The pairs of each part, in the order of their ids."""
    families: dict[str, list[Pair]] = {}
    for pair in pairs:
        match = re.fullmatch(rf'(.+?){_CROP.pattern}', pair.name)
        families.setdefault(match[1] if match else pair.name, []).append(pair)
    names = sorted(families)
    random.Random(seed).shuffle(names)
    dealt: dict[str, list[Pair]] = {part: [] for part in counts}
    place = 0
    for name in names:
        middle = place + len(families[name]) / 2
        place += len(families[name])
        end = 0
        for part, count in counts.items():
            end += count
            if middle <= end:
                dealt[part] += families[name]
                break
    for part, found in dealt.items():
        if not found:
            what = f"'{part}' gets none of the {len(names)} images"
            raise InputError(what, where='--parts', do='Give it more, or query more images')
        found.sort(key=lambda pair: pair.id)
    return dealt


def _write(folder: Path, parent: FinishedSet, pairs: list[Pair], made_by: dict[str, Any]) -> None:
    numbered = [replace(pair, id=f'{index:06d}') for index, pair in enumerate(pairs)]
    for side in SIDES:
        (folder / side).mkdir(parents=True)
        for old, new in zip(pairs, numbered, strict=True):
            link_or_copy(parent.path(side, old), folder / side / f'{new.id}.png')
    write_manifests(folder, parent, numbered, [pair.id for pair in pairs], made_by)


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file that is another one, or equals it where the file system has no links or they would cross it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
