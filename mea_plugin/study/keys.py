"""What a cell's result depends on, as one hash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.files import hash_file, hash_json
from mea_plugin.extract.toolboxes import Surrogate
from mea_plugin.study.grid import Cell
from mea_plugin.study.prepare import Shared, asked_of

__all__ = ['Records', 'cell_key']

_DIGITS = 8  # of the key, at the end of a file's name


def cell_key(cell: Cell, surrogate: Surrogate, shared: Shared) -> str:
    """A hash of everything that was chosen: options, seed, victim, pairs, pretrained weights, test images, metrics.

    It says nothing of paths and machines, so that a cell that another machine has finished is finished. The versions of
    packages, which move results by rounding, stand in the result.

    Args:
        cell: The cell.
        surrogate: With any seed; reading an option file anew for each would take a study of MMagic's minutes.
        shared: What the study has prepared.
    """
    victim, asked = shared.victims[cell.victim].fingerprint, shared.asked[asked_of(shared.study, cell)].fingerprint
    return hash_json(
        {
            'surrogate': {**surrogate.seeded(cell.seed), 'name': ''},
            'pretrained': [hash_file(path) for path in surrogate.pretrained()],
            'victim': victim,
            **({} if asked == victim else {'asked': asked}),
            'pairs': [[pair.name, pair.query, pair.response] for pair in shared.drawn(cell)],
            'test_sets': shared.tests_of(cell).fingerprint,
            'metrics': [metric.name for metric in shared.study.measured],
        }
    )


class Records:
    """Where the results of cells are, or will be: a cell with other options has another name.

    Args:
        results: The study's folder of results.
        reuse: Those of other studies, whose cells count for this one.
    """

    def __init__(self, results: Path, reuse: Sequence[Path] = ()) -> None:
        self._results = results
        self._found = {
            path.stem[-_DIGITS:]: path for folder in (*reuse, results) for path in sorted(folder.glob('cells/*.json'))
        }

    def path(self, cell: Cell, key: str) -> Path:
        """The file of a cell; that of another name if there is one with the same key, as after a method was renamed."""
        own = self._results / 'cells' / f'{cell.id}-{key[:_DIGITS]}.json'
        return own if own.exists() else self._found.get(key[:_DIGITS], own)
