"""Validation on all ranks: each takes its share of the images, and all get the result that one process gets."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from mea_plugin.basicsr.metrics import better_value
from mea_plugin.training.random_state import preserved
from mea_plugin.training.ranks import Ranks

__all__ = ['REFERENCES', 'validate']

REFERENCES = ('gt', 'victim')
"""What a metric's option ``reference`` may say; the first is the default."""


def validate(
    model: Any,
    dataloader: DataLoader,
    current_iter: int,
    tb_logger: Any,
    *,
    save_img: bool = False,
    stop_requested: Callable[[], bool] | None = None,
) -> bool:
    """Measure a model on one validation set, as ``SRModel`` does, with the images shared among the ranks.

    Rank ``r`` of ``W`` takes the images ``r``, ``r + W``, ... Each image's metrics are gathered, and averaged in the
    images' order, so that any number of ranks gives the same bits. All ranks keep ``model.metric_results`` (of this
    set) and ``model.best_metric_results`` (of all sets). A metric that is not a number is logged as it is and is never
    the best.

    A metric with ``reference: victim`` compares with the batch's ``victim`` in place of its ``gt``: fidelity and task
    quality come from one pass. On a set that lacks a metric's reference, that metric is not measured.

    The networks are left in the mode they were in, and the random states as they were.

    Args:
        model: A model of this package.
        dataloader: BasicSR's for the set; its dataset and how it collates are used.
        current_iter: For the log and the images' names.
        tb_logger: TensorBoard's writer, or None.
        save_img: Save the outputs where ``SRModel`` does.
        stop_requested: Asked by every rank before each image. When it says yes on any rank, all of them stop.

    Returns:
        Whether all images were seen; otherwise nothing is logged or kept.
    """
    ranks: Ranks = model.ranks
    dataset: Any = dataloader.dataset
    rows: list[dict[str, float]] = []
    progress = tqdm(total=len(dataset), unit='image', disable=not (model.opt['val'].get('pbar') and ranks.is_first))
    with preserved([torch.cuda.current_device()] if model.device.type == 'cuda' else []), progress:
        images = iter(_share(dataloader, ranks))
        for first in range(0, len(dataset), ranks.world):
            if ranks.any(stop_requested is not None and stop_requested()):
                return False
            if first + ranks.rank < len(dataset):
                rows.append(_measure(model, next(images), dataset.opt['name'], current_iter, save_img))
            progress.update(min(ranks.world, len(dataset) - first))
    if model.opt['val'].get('metrics') and len(dataset):
        shares = ranks.gather(rows)
        in_order = [shares[index % ranks.world][index // ranks.world] for index in range(len(dataset))]
        _conclude(model, dataset.opt['name'], in_order, current_iter, tb_logger)
    return True


def _share(dataloader: DataLoader, ranks: Ranks) -> DataLoader:
    """The images of one rank, one by one."""
    dataset: Any = dataloader.dataset
    return DataLoader(
        Subset(dataset, range(ranks.rank, len(dataset), ranks.world)),
        num_workers=dataloader.num_workers,
        collate_fn=dataloader.collate_fn,
        pin_memory=dataloader.pin_memory,
    )


def _measure(model: Any, data: dict[str, Any], dataset: str, current_iter: int, save_img: bool) -> dict[str, float]:
    """The metrics of one image, in their order."""
    _forget(model)
    model.feed_data(data)
    model.test()
    visuals = model.get_current_visuals()
    _forget(model)
    image = tensor2img([visuals['result']])
    if save_img:
        imwrite(image, str(_image_path(model.opt, dataset, Path(data['lq_path'][0]).stem, current_iter)))
    given = {'gt': visuals.get('gt'), 'victim': data.get('victim')}
    references = {key: tensor2img([value]) for key, value in given.items() if value is not None}
    row = {}
    for name, options in (model.opt['val'].get('metrics') or {}).items():
        images = {'img': image}
        reference = options.get('reference', REFERENCES[0])
        if reference in references:
            images['img2'] = references[reference]
        elif _compares(options['type']):
            continue
        row[name] = _number(calculate_metric(images, {key: options[key] for key in options if key != 'reference'}))
    return row


def _compares(metric: str) -> bool:
    """Whether a metric needs a second image."""
    return 'img2' in inspect.signature(METRIC_REGISTRY.get(metric)).parameters


def _forget(model: Any) -> None:
    """Let go of the last images; a set without ``gt`` must not find training's."""
    for name in ('lq', 'gt', 'output'):
        vars(model).pop(name, None)


def _image_path(opt: dict[str, Any], dataset: str, image: str, current_iter: int) -> Path:
    folder = Path(opt['path']['visualization'])
    if opt['is_train']:
        return folder / image / f'{image}_{current_iter}.png'
    return folder / dataset / f'{image}_{opt["val"].get("suffix") or opt["name"]}.png'


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _conclude(model: Any, dataset: str, rows: list[dict[str, float]], current_iter: int, tb_logger: Any) -> None:
    """Average, compare with the best so far, log."""
    options: Mapping[str, Any] = model.opt['val']['metrics']
    model.metric_results = {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}
    best = model.best_metric_results.setdefault(dataset, {})
    for metric, value in model.metric_results.items():
        better = better_value(options[metric])
        worst = -math.inf if better == 'higher' else math.inf
        record = best.setdefault(metric, {'better': better, 'val': worst, 'iter': -1})
        if value >= record['val'] if better == 'higher' else value <= record['val']:
            record.update(val=value, iter=current_iter)
    get_root_logger().info(f'Validation {dataset}\n' + ''.join(_lines(model.metric_results, best)))
    for metric, value in model.metric_results.items():
        if tb_logger and math.isfinite(value):
            tb_logger.add_scalar(f'metrics/{dataset}/{metric}', value, current_iter)


def _lines(results: dict[str, float], best: dict[str, dict[str, Any]]) -> Iterator[str]:
    for metric, value in results.items():
        record = best[metric]
        yield f'\t # {metric}: {value:.4f}\tBest: {record["val"]:.4f} @ {record["iter"]} iter\n'
