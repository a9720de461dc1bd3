"""The option file of an extraction, checked and completed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.options import check_keys, check_section, load_options, merge, require
from mea_plugin.query.options import QueryOptions, check_name, section

__all__ = ['ExtractionOptions', 'Surrogate', 'load_extraction']


@dataclass(frozen=True)
class Surrogate:
    """One surrogate to train.

    Attributes:
        name: How tables call it.
        options: Its BasicSR options, overrides applied, without the paths of the query set.
    """

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ExtractionOptions:
    """A checked option file.

    Attributes:
        query: Victim, images and budget; name and output folder of the whole.
        surrogates: In the order of the file.
        evaluation: ``test_sets``, and optionally ``baselines`` and ``panel``.
        where: The file, for errors.
    """

    query: QueryOptions
    surrogates: list[Surrogate]
    evaluation: dict[str, Any]
    where: str


def load_extraction(path: str | Path, output: str | Path | None = None) -> ExtractionOptions:
    """Read an extraction's option file.

    Args:
        path: The file.
        output: Instead of the folder that the file names.

    Raises:
        InputError: A section is missing or unknown.
    """
    where = str(path)
    options = load_options(path)
    check_keys(options, ('name', 'output', 'victim', 'queries', 'surrogates', 'evaluation'), where)
    evaluation = dict(section(options, 'evaluation', where))
    check_keys(evaluation, ('test_sets', 'baselines', 'panel'), f'{where}: evaluation')
    surrogates = [
        Surrogate(check_name(name, f'{where}: surrogates'), _surrogate_options(value, f'{where}: surrogates.{name}'))
        for name, value in section(options, 'surrogates', where).items()
    ]
    return ExtractionOptions(QueryOptions.parse(options, where, output), surrogates, evaluation, where)


def _surrogate_options(value: Any, where: str) -> dict[str, Any]:
    check_keys(value, ('opt', 'override'), where)
    options = load_options(require(value, 'opt', where))
    return merge(options, check_section(value.get('override') or {}, f'{where}.override'))
