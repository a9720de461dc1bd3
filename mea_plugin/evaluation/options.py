"""The options of an evaluation: those of tools/evaluate.py, and of the section in an extraction's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from mea_plugin.core.errors import suggestion
from mea_plugin.core.paths import expanded
from mea_plugin.core.schema import Flag, Options, Registered, Text, Whole, refusal, shortened
from mea_plugin.evaluation.models import check_seeds
from mea_plugin.evaluation.pairs import EvaluationSet
from mea_plugin.metrics.catalogue import DEFAULT, find_metrics, metric_names
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['EvaluateFile', 'MeasureOptions', 'MetricOptions', 'PanelOptions', 'TestSet', 'parse_test_sets']


class TestSet(Options):
    """Folders of images to measure on; `lq` or `gt` must be there."""

    __test__ = False  # no test class of pytest's

    name: Text
    """Name of the test set."""
    lq: Path | None = None
    """Folder of the images that the models get; without it, they are made of `gt` by bicubic interpolation."""
    gt: Path | None = None
    """Folder of the ground truth; without it, only fidelity is measured."""
    target: Path | None = None
    """Folder of images that answers shall look like, for metrics of whole sets such as FID."""

    @model_validator(mode='after')
    def _check_images(self) -> Self:
        if self.lq is None and self.gt is None:
            raise refusal("the option 'lq' is missing", do='Add lq, gt or both')
        return self


class WeightOptions(Options):
    """Where learned metrics find their weights."""

    folder: Text | None = None
    """Folder of the files under their published names; by default the one that MEA_METRIC_WEIGHTS names."""
    urls: dict[Text, Text] = Field(default={})
    """Addresses to download missing files from, by file name."""


def _check_metrics(value: Any) -> Any:
    names = ['all', *metric_names()]
    if isinstance(value, str) and value != 'all':
        raise refusal(f'got {shortened(value)}', do=suggestion(value, names))
    if not isinstance(value, str | list | tuple) or not value:
        raise refusal(f'got {shortened(value)}', do='Give a list of names, or all')
    return value


class MetricOptions(Options):
    """Which metrics are computed."""

    metrics: Annotated[Literal['all'] | tuple[str, ...], BeforeValidator(_check_metrics)] = DEFAULT
    """Names of metrics, or `all`."""
    weights: WeightOptions = WeightOptions()
    """Where learned metrics find their weights."""

    def find_metrics(self, prefix: str = '') -> list[Metric]:
        """The metrics, in the order of the file; weights are looked for, and downloaded from a given address.

        Args:
            prefix: Of the options, for errors: ``'run.yml: '`` or ``'run.yml: evaluation.'``.

        Raises:
            InputError: A metric is unknown or named twice, or weights cannot be used.
        """
        names = metric_names() if self.metrics == 'all' else list(self.metrics)
        folder = None if self.weights.folder is None else expanded(self.weights.folder)
        return find_metrics(names, sources=WeightSource(folder, self.weights.urls), where=f'{prefix}metrics')


class PanelOptions(Options):
    """The side-by-side picture."""

    images: Annotated[int, Whole(1)] | Annotated[list[Text], Field(min_length=1)] = 4
    """How many test images it shows, or their names."""


def _check_model(value: Any) -> dict[str, Any]:
    """A model's options as text keys; weights without the network that they are for are a common mistake."""
    path = value if isinstance(value, str) else None
    if isinstance(value, Mapping) and value.get('weights') is not None:
        lacks = value.get('type', 'basicsr') == 'basicsr' and not value.get('network_g')
        path = str(value['weights']) if lacks else None
    if path is not None and Path(path).suffix in ('.pth', '.pt', '.ckpt', '.safetensors'):
        raise refusal(
            f'{path} holds weights, but not the network that they are for',
            do='Write {type: basicsr, network_g: {type: MSRResNet, ...}, weights: FILE}, '
            'or {type: spandrel, weights: FILE}, which knows many networks by their weights',
        )
    if not isinstance(value, Mapping):
        raise refusal(f'expected a section, got {shortened(value)}', do='Write key: value lines below it')
    return {str(key): content for key, content in value.items()}


Baseline = Annotated[dict[str, Any], BeforeValidator(_check_model)]
"""Options of a victim, but for the scale, which the others decide."""

ModelOptions = Annotated[Baseline, Registered('victim')]
"""Options of :func:`~mea_plugin.victims.build_victim`."""


class MeasureOptions(MetricOptions):
    """What is measured besides the surrogates, and what is kept of it."""

    baselines: dict[Text, Baseline] | None = None
    """Models to beat, by name; by default bicubic interpolation wherever the scale is above 1."""
    seeds: dict[Text, list[Text]] = Field(default={})
    """Groups of surrogates that differ in their seed alone: a name, and the names of its surrogates."""
    ceiling: Flag = False
    """Add a row for the victim's answers with noise of one grey level, above which agreement means nothing."""
    panel: PanelOptions = PanelOptions()
    """The side-by-side picture."""
    save_images: Literal['all'] | Annotated[int, Whole(0)] = 0
    """Test images of each set whose whole pictures are saved, for the report: a number, or `all`."""


class EvaluateFile(MeasureOptions):
    """The option file of an evaluation."""

    name: Text
    """Name of the evaluation."""
    output: Path | None = None
    """Folder of the results; by default `results/NAME`."""
    victim: ModelOptions | None = None
    """The model that the surrogates shall behave like; without it, only task quality is measured."""
    surrogates: dict[Text, ModelOptions] = Field(default={})
    """Networks that were trained on the victim's answers, by name."""
    scale: Annotated[int, Whole(1)] | None = None
    """Scale of the models, where no victim and no surrogate has one."""
    test_sets: Annotated[tuple[TestSet, ...], Field(min_length=1)]
    """Images to measure on."""

    @model_validator(mode='after')
    def _check_seeds(self) -> Self:
        check_seeds(self.seeds, list(self.surrogates), 'seeds')
        return self


def parse_test_sets(entries: Iterable[Any], where: str) -> list[EvaluationSet]:
    """Check test sets.

    Args:
        entries: Each a :class:`TestSet`, or a section as an option file has it.
        where: The option that lists them, for errors.

    Raises:
        InputError: One has no name or no folder.
    """
    checked = (TestSet.parse(one, f'{where}[{index}]') for index, one in enumerate(entries))
    return [EvaluationSet(**dict(one)) for one in checked]
