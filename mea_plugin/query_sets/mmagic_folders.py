"""A query set in the folders that MMagic's own data sets of image translation read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_json
from mea_plugin.core.folders import count_files, is_made, written_aside
from mea_plugin.core.images import write_png
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch import BatchResult
from mea_plugin.data.parallel import mapper
from mea_plugin.query_sets.finished import SIDES, FinishedSet, read_pair
from mea_plugin.query_sets.layout import MANIFEST, Pair
from mea_plugin.query_sets.split import link_or_copy

__all__ = ['Layout', 'export_mmagic']

Layout = Literal['pairs', 'unpaired']
"""``pairs``: side by side, for pix2pix; ``unpaired``: a folder for each domain, for CycleGAN."""


def export_mmagic(
    sources: Mapping[str, str | Path], output: str | Path, *, layout: Layout = 'pairs', jobs: int = 1
) -> BatchResult:
    """Make the folders of MMagic's ``PairedImageDataset`` or ``UnpairedImageDataset``; they appear when they are whole.

    With ``pairs``, ``OUTPUT/train/NNNNNN.png`` has the query on the left (MMagic's domain A) and the response on the
    right (B). With ``unpaired``, queries are in ``OUTPUT/trainA`` and responses in ``OUTPUT/trainB``, hard links where
    the file system has them.

    Args:
        sources: Complete query sets by phase, ``train`` and ``test`` in MMagic's configs.
        output: Folder for the result; new or empty, or this result already.
        layout: See :data:`Layout`.
        jobs: Processes to use.

    Returns:
        How many pairs were written, or are there already.

    Raises:
        InputError: A query set is incomplete or damaged, responses are larger than queries, or the output folder holds
            something else.
    """
    output = expanded(output)
    parents = {phase: FinishedSet.load(source, where=f'--{phase}') for phase, source in sources.items()}
    for phase, parent in parents.items():
        if parent.scale != 1:
            what = f'responses are {parent.scale} times as large as queries, which MMagic cannot read as a pair'
            raise InputError(what, where=f'--{phase}', do='Give a query set of a victim of scale 1')
    contents = {phase: parent.content for phase, parent in parents.items()}
    made_by: dict[str, Any] = {'command': 'mmagic', 'layout': layout, 'parents': contents}
    count = sum(len(parent.pairs) for parent in parents.values())
    if is_made(output, made_by):
        return BatchResult(made=0, kept=count)
    with written_aside(output) as aside:
        for phase, parent in parents.items():
            (_write_pairs if layout == 'pairs' else _write_domains)(parent, aside / phase, jobs)
        write_json(aside / MANIFEST, {'made_by': made_by, 'files': count_files(aside)})
    return BatchResult(made=count, kept=0)


def _write_pairs(parent: FinishedSet, folder: Path, jobs: int) -> None:
    with mapper(jobs, len(parent.pairs)) as each:
        for _ in each(partial(_write_pair, parent.folder, folder), parent.pairs, folder.name):
            pass


def _write_pair(source: Path, folder: Path, pair: Pair) -> None:
    """Runs in a worker."""
    write_png(folder / f'{pair.id}.png', np.concatenate(read_pair(source, pair, 1), axis=1))


def _write_domains(parent: FinishedSet, folder: Path, jobs: int) -> None:
    parent.verify(jobs=jobs)
    for side, domain in zip(SIDES, 'AB', strict=True):
        target = folder.with_name(folder.name + domain)
        target.mkdir(parents=True)
        for pair in parent.pairs:
            link_or_copy(parent.path(side, pair), target / f'{pair.id}.png')
