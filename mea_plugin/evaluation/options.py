"""The options of an evaluation, checked: those of tools/evaluate.py, and of the section in an extraction's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, check_section, require
from mea_plugin.evaluation.models import check_seeds
from mea_plugin.evaluation.pairs import EvaluationSet
from mea_plugin.metrics.catalogue import DEFAULT, find_metrics, metric_names
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['MEASURE_KEYS', 'MeasureOptions', 'check_model', 'parse_test_sets']

MEASURE_KEYS = ('test_sets', 'baselines', 'panel', 'metrics', 'weights', 'seeds', 'ceiling', 'save_images')
"""What an evaluation takes besides its models."""

_SET_KEYS = ('name', 'lq', 'gt', 'target')


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and what is kept of it.

    Attributes:
        metrics: In the order of the file.
        seeds: Names of surrogates by group.
        ceiling: Whether the victim's noisy answers are a row.
        save_images: Of how many images whole pictures are saved; None for all.
        panel_images: How many images, or which ones, the side-by-side picture shows.
    """

    metrics: list[Metric]
    seeds: dict[str, list[str]] = field(default_factory=dict)
    ceiling: bool = False
    save_images: int | None = 0
    panel_images: int | list[str] = 4

    @classmethod
    def parse(cls, options: Mapping[str, Any], where: str, surrogates: list[str]) -> MeasureOptions:
        """Check everything that needs no image and no model, but the test sets; weights of metrics are looked for.

        Args:
            options: Holds :data:`MEASURE_KEYS`; others are left alone.
            where: The file, for errors.
            surrogates: Their names.

        Raises:
            InputError: An option is of the wrong kind, or names something that there is not.
        """
        prefix = f'{where}: ' if where else ''
        metrics = _metrics(options, prefix)
        seeds = _seeds(options.get('seeds'), f'{prefix}seeds')
        check_seeds(seeds, surrogates, f'{prefix}seeds')
        ceiling = options.get('ceiling', False)
        if not isinstance(ceiling, bool):
            raise InputError(f'ceiling is {ceiling!r}', where=f'{prefix}ceiling', do='Write true or false')
        return cls(
            metrics=metrics,
            seeds=seeds,
            ceiling=ceiling,
            save_images=_save_images(options.get('save_images', 0), f'{prefix}save_images'),
            panel_images=_panel_images(options.get('panel'), prefix),
        )


def check_model(value: Any, where: str) -> dict[str, Any]:
    """The options of one model.

    Raises:
        InputError: They are no section, or name weights and no network that the weights are for.
    """
    path = value if isinstance(value, str) else None
    if isinstance(value, Mapping) and value.get('weights') is not None:
        lacks = value.get('type', 'basicsr') == 'basicsr' and not value.get('network_g')
        path = str(value['weights']) if lacks else None
    if path is not None and Path(path).suffix in ('.pth', '.pt', '.ckpt', '.safetensors'):
        raise InputError(
            f'{path} holds weights, but not the network that they are for',
            where=where,
            do='Write {type: basicsr, network_g: {type: MSRResNet, ...}, weights: FILE}, '
            'or {type: spandrel, weights: FILE}, which knows many networks by their weights',
        )
    return {str(key): content for key, content in check_section(value, where).items()}


def _metrics(options: Mapping[str, Any], prefix: str) -> list[Metric]:
    where = f'{prefix}metrics'
    names = options.get('metrics')
    if names is None:
        names = list(DEFAULT)
    elif names == 'all':
        names = metric_names()
    elif isinstance(names, str):
        raise InputError(f"metrics is '{names}'", where=where, do=suggestion(names, ['all', *metric_names()]))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f'metrics is {names!r}', where=where, do='Give a list of names, or all')
    return find_metrics(names, sources=_weights(options.get('weights'), f'{prefix}weights'), where=where)


def _weights(value: Any, where: str) -> WeightSource:
    if value is None:
        return WeightSource()
    check_keys(value, ('folder', 'urls'), where)
    folder, urls = value.get('folder'), value.get('urls') or {}
    check_section(urls, f'{where}.urls', do='Write FILE: ADDRESS lines below it')
    return WeightSource(
        None if folder is None else Path(str(folder)).expanduser(), {str(k): str(v) for k, v in urls.items()}
    )


def _seeds(value: Any, where: str) -> dict[str, list[str]]:
    if value is None:
        return {}
    found = {}
    for group, names in check_section(value, where, do='Write GROUP: [names of surrogates]').items():
        if not isinstance(names, list):
            raise InputError(f'{group} is {names!r}', where=where, do='Write GROUP: [names of surrogates]')
        found[str(group)] = [str(name) for name in names]
    return found


def _save_images(value: Any, where: str) -> int | None:
    if value == 'all':
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f'save_images is {value!r}', where=where, do='Give a number of images, or all')
    return value


def parse_test_sets(sets: Any, where: str) -> list[EvaluationSet]:
    """The test sets that an option lists.

    Raises:
        InputError: It lists none, or one has no name or no folder.
    """
    if not isinstance(sets, list) or not sets:
        raise InputError(
            f'expected a list of test sets, got {sets!r}', where=where, do='Write - {name: ..., lq: FOLDER, gt: FOLDER}'
        )
    checked = []
    for index, one in enumerate(sets):
        at = f'{where}[{index}]'
        check_keys(one, _SET_KEYS, at)
        folders = {key: Path(str(one[key])) for key in _SET_KEYS[1:] if one.get(key) is not None}
        if 'lq' not in folders and 'gt' not in folders:
            require(one, 'lq', at)
        checked.append(EvaluationSet(str(require(one, 'name', at)), **folders))
    return checked


def _panel_images(panel: Any, prefix: str) -> int | list[str]:
    where = f'{prefix}panel'
    if panel is None:
        return 4
    check_keys(panel, ('images',), where)
    images = panel.get('images', 4)
    if isinstance(images, list) and images:
        return [str(name) for name in images]
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise InputError(
            f'images is {images!r}', where=where, do='Give a number of images from 1 on, or a list of their names'
        )
    return images
