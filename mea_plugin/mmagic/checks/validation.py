"""Checks of a config's validation before a training: its metrics, and what they look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.registry import DATASETS, METRICS
from mmagic.structures import DataSample

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.images import list_images
from mea_plugin.mmagic.checks.config_types import check_dict, check_type, is_kind
from mea_plugin.mmagic.data.fidelity_dataset import FidelityDataset
from mea_plugin.mmagic.metrics.pair_metrics import ImageMetric
from mea_plugin.mmagic.models.translation import TranslationExtraction
from mea_plugin.query_sets.fidelity_pairs import list_fidelity_pairs
from mea_plugin.toolboxes.mmagic_networks import find_generator, find_scale, find_type

__all__ = ['check_validation']


def check_validation(cfg: Any, kind: Any, where: str, *, folders: bool) -> None:
    """Check the validation of a config that has one.

    Args:
        cfg: The whole config.
        kind: The model's class.
        where: The file, for errors.
        folders: Look into the folders as well; headers only.

    Raises:
        InputError: A metric or an option of it is unknown, cannot work with the model, or looks at an image that is
            not there.
    """
    if cfg.get('val_cfg') is None:
        return
    loaders, evaluators = (cfg.get(f'val_{part}') for part in ('dataloader', 'evaluator'))
    loaders = loaders if isinstance(loaders, list | tuple) else [loaders] if loaders else []
    groups = list(_groups(evaluators))
    for index, (at, metrics) in enumerate(groups):
        dataset = _dataset(loaders[index]) if index < len(loaders) else {}
        for number, options in enumerate(metrics):
            place = f'{where}: {at}.metrics[{number}]' if len(metrics) > 1 else f'{where}: {at}.metrics'
            _check_metric(options, kind, cfg['model'], dataset, place)
            if folders and options.get('target') is not None:
                list_images(options['target'], where=f'{place}.target')
    _check_best(cfg, [one for _, metrics in groups for one in metrics], f'{where}: default_hooks.checkpoint')
    for loader in loaders:
        _check_dataset(_dataset(loader), cfg, where, folders)


def _groups(evaluators: Any) -> Iterator[tuple[str, list[Any]]]:
    """The metrics of each evaluator, and where they stand; in all the forms that ``MultiValLoop`` takes."""
    single = isinstance(evaluators, Mapping) or (
        isinstance(evaluators, list | tuple)
        and all(isinstance(one, Mapping) and 'metrics' not in one for one in evaluators)
    )
    for index, evaluator in enumerate([evaluators] if single else evaluators or ()):
        metrics = evaluator.get('metrics') if isinstance(evaluator, Mapping) else evaluator
        listed = list(metrics) if isinstance(metrics, list | tuple) else [metrics] if metrics else []
        yield 'val_evaluator' if single else f'val_evaluator[{index}]', listed


def _dataset(loader: Any) -> Mapping[str, Any]:
    """The innermost data set's options, or none."""
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    return dataset if isinstance(dataset, Mapping) else {}


def _check_metric(options: Any, kind: Any, model: Mapping[str, Any], dataset: Mapping[str, Any], where: str) -> None:
    metric = check_type(METRICS, check_dict(options, where), where)
    if is_kind(metric, ImageMetric):
        metric.check(options, where)
        _check_images(options, kind, model, dataset, where)
    elif is_kind(metric, BaseSampleWiseMetric) and is_kind(kind, TranslationExtraction):
        instead = METRICS.get(f'MEA{metric.metric}')
        do = f"Write type='MEA{metric.metric}'" if instead else 'Use the metrics of mea_plugin.mmagic.metrics'
        raise InputError(f'{options["type"]} does not find the output of a translation model', where=where, do=do)


def _check_images(
    options: Mapping[str, Any], kind: Any, model: Mapping[str, Any], dataset: Mapping[str, Any], where: str
) -> None:
    """That the metric's images are there: the prediction, and what the pipeline packs."""
    if is_kind(kind, TranslationExtraction):
        known = [f'fake_{domain}' for domain in model.get('reachable_domains', ())]
        if (key := options.get('pred_key', 'pred_img')) not in known:
            raise InputError(f"the model makes no '{key}'", where=f'{where}.pred_key', do=suggestion(key, known))
    packed = _packed(dataset.get('pipeline'))
    key = options.get('gt_key', 'gt_img')
    if packed and options.get('target') is None and key not in packed:
        do = f'Load it, and give its key to data_keys of PackInputs; packed: {", ".join(sorted(packed))}'
        raise InputError(f"the pipeline packs no '{key}'", where=f'{where}.gt_key', do=do)


def _packed(pipeline: Any) -> set[str]:
    """The images in a sample, by the rules of ``PackInputs``; none where another transform packs."""
    steps: Sequence[Any] = pipeline if isinstance(pipeline, list | tuple) else []
    packing = [step for step in steps if isinstance(step, Mapping) and step.get('type') == 'PackInputs']
    if not packing:
        return set()
    keys = packing[-1].get('data_keys', [])
    data_keys = [str(key) for key in (keys if isinstance(keys, list | tuple) else [keys])]
    loaded = {str(step['key']) for step in steps if isinstance(step, Mapping) and 'key' in step}
    return {*data_keys, *(DataSample.DATA_KEYS[key] for key in loaded - set(data_keys) if key in DataSample.DATA_KEYS)}


def _check_best(cfg: Any, metrics: Sequence[Mapping[str, Any]], where: str) -> None:
    """That the best of a metric is its best: a rule the wrong way round keeps the worst."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if not isinstance(hook, Mapping) or not hook.get('save_best') or not hook.get('rule'):
        return
    keys, rules = (one if isinstance(one, list | tuple) else [one] for one in (hook['save_best'], hook['rule']))
    if len(rules) not in (1, len(keys)):
        what = f'{len(rules)} rules for {len(keys)} metrics'
        raise InputError(what, where=f'{where}.rule', do='Give one rule, or one for each of save_best')
    named = dict(zip(map(str, keys), rules if len(rules) > 1 else rules * len(keys), strict=True))
    for options in metrics:
        metric = find_type(METRICS, options['type'], where)
        if not is_kind(metric, ImageMetric):
            continue
        key = f'{options["prefix"]}/{metric.metric}' if options.get('prefix') else metric.metric
        rule = {'higher': 'greater', 'lower': 'less'}[metric.better]
        if named.get(key, rule) != rule:
            what = f"rule is '{named[key]}', but {metric.better} values of {key} are better"
            raise InputError(what, where=f'{where}.rule', do=f"Write rule='{rule}'")


def _check_dataset(dataset: Mapping[str, Any], cfg: Any, where: str, folders: bool) -> None:
    at = f'{where}: val_dataloader.dataset'
    if dataset.get('type') is None or find_type(DATASETS, dataset['type'], at) is not FidelityDataset:
        return
    check_type(DATASETS, dataset, at)
    missing = [key for key in ('img', 'victim') if not dataset.get(key)]
    if missing:
        raise InputError(f"the option '{missing[0]}' is missing", where=at, do=f'Give the folder {missing[0]}')
    if folders:
        names = {'lq': dataset['img'], 'victim': dataset['victim'], 'gt': dataset.get('gt')}
        scale = find_scale(find_generator(cfg), where=f'{where}: model.generator')
        list_fidelity_pairs(names, scale=scale, where=at)
