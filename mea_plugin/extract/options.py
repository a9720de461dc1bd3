"""The option file of an extraction, checked and completed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.options import check_keys, load_options
from mea_plugin.evaluation.options import MEASURE_KEYS, MeasureOptions
from mea_plugin.extract.toolboxes import Surrogate, read_surrogate
from mea_plugin.query.options import QueryOptions, check_name, section

__all__ = ['ExtractionOptions', 'load_extraction']


@dataclass(frozen=True)
class ExtractionOptions:
    """A checked option file.

    Attributes:
        query: Victim, images and budget; name and output folder of the whole.
        surrogates: In the order of the file.
        evaluation: ``test_sets``, and optionally the other options of an evaluation.
        metrics: Which are asked for there, and why some cannot be computed here.
        where: The file, for errors.
    """

    query: QueryOptions
    surrogates: list[Surrogate]
    evaluation: dict[str, Any]
    metrics: dict[str, str]
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
    check_keys(evaluation, MEASURE_KEYS, f'{where}: evaluation')
    surrogates = [
        read_surrogate(check_name(name, f'{where}: surrogates'), value, where=f'{where}: surrogates.{name}')
        for name, value in section(options, 'surrogates', where).items()
    ]
    measure = MeasureOptions.parse(evaluation, f'{where}: evaluation', [one.name for one in surrogates])
    metrics = {metric.name: metric.missing for metric in measure.metrics}
    return ExtractionOptions(QueryOptions.parse(options, where, output), surrogates, evaluation, metrics, where)
