"""Validation on all ranks: each takes its share of the images, and all get the result that one process gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from mea_plugin.training.random_state import preserved
from mea_plugin.training.ranks import Ranks

__all__ = ['validate']


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
    the best. The networks are left in the mode they were in, and the random states as they were.

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
    rows: list[list[float]] = []
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


def _measure(model: Any, data: dict[str, Any], dataset: str, current_iter: int, save_img: bool) -> list[float]:
    """The metrics of one image, in their order."""
    _forget(model)
    model.feed_data(data)
    model.test()
    visuals = model.get_current_visuals()
    _forget(model)
    images = {'img': tensor2img([visuals['result']])}
    if 'gt' in visuals:
        images['img2'] = tensor2img([visuals['gt']])
    if save_img:
        imwrite(images['img'], str(_image_path(model.opt, dataset, Path(data['lq_path'][0]).stem, current_iter)))
    return [_number(calculate_metric(images, options)) for options in (model.opt['val'].get('metrics') or {}).values()]


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


def _conclude(model: Any, dataset: str, rows: list[list[float]], current_iter: int, tb_logger: Any) -> None:
    """Average, compare with the best so far, log."""
    options = model.opt['val']['metrics']
    model.metric_results = {
        metric: sum(column) / len(column) for metric, column in zip(options, zip(*rows, strict=True), strict=True)
    }
    best = model.best_metric_results.setdefault(dataset, {})
    for metric, value in model.metric_results.items():
        better = options[metric].get('better', 'higher')
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
