"""The option file of an extraction, checked and completed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from mea_plugin.core.options import load_options
from mea_plugin.core.schema import FolderName
from mea_plugin.evaluation.models import check_seeds
from mea_plugin.evaluation.options import MeasureOptions
from mea_plugin.extract.test_sets import TestImages
from mea_plugin.extract.toolboxes import Surrogate, SurrogateOptions
from mea_plugin.query.options import QueryFile

__all__ = ['EvaluationSection', 'ExtractFile', 'ExtractionOptions', 'load_extraction']


class EvaluationSection(MeasureOptions):
    """What is measured at the end."""

    test_sets: Annotated[tuple[TestImages, ...], Field(min_length=1)]
    """Images to measure on."""


class ExtractFile(QueryFile):
    """The option file of an extraction."""

    surrogates: Annotated[dict[FolderName, SurrogateOptions], Field(min_length=1)]
    """Networks to train on the victim's answers, by name."""
    evaluation: EvaluationSection
    """What is measured at the end."""

    @model_validator(mode='after')
    def _check_seeds(self) -> Self:
        check_seeds(self.evaluation.seeds, list(self.surrogates), 'evaluation.seeds')
        return self


@dataclass(frozen=True)
class ExtractionOptions:
    """A checked option file.

    Attributes:
        file: Its options.
        surrogates: In the order of the file.
        evaluation: The section as the file has it: evaluation.json quotes it.
        metrics: Names of the metrics that it asks for, and why some cannot be computed here.
        where: The file, for errors.
    """

    file: ExtractFile
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
        InputError: A section or option is missing, unknown or of the wrong kind.
    """
    where, content = str(path), load_options(path)
    file = ExtractFile.read(content, where, output)
    surrogates = [one.build(name) for name, one in file.surrogates.items()]
    metrics = {metric.name: metric.missing for metric in file.evaluation.find_metrics(f'{where}: evaluation.')}
    return ExtractionOptions(file, surrogates, content['evaluation'], metrics, where)
