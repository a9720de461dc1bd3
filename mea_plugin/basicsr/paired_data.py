"""Checks of the folders that BasicSR's ``PairedImageDataset`` will read, before training starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mea_plugin.errors import InputError
from mea_plugin.images import check_pair, image_size, list_images
from mea_plugin.options import require
from mea_plugin.query.query_set import check_complete

__all__ = ['check_paired_data']


def check_paired_data(dataset: Mapping[str, Any], phase: str, opt: Mapping[str, Any], where: str) -> None:
    """Check that every query has its response, that sizes fit the scale, and that crops fit into the images.

    Only headers are read, so that ten thousand images cost seconds. Folders that this package wrote must be complete.

    Args:
        dataset: The dataset's options.
        phase: ``train``, ``val`` or ``test``.
        opt: All options; ``scale`` is used.
        where: The option file and section, for errors.

    Raises:
        InputError: A folder is missing or empty, the two do not pair, or an image cannot be used.
    """
    scale = int(require(opt, 'scale', where.partition(':')[0]))
    folders = {key: Path(require(dataset, key, where)).expanduser() for key in ('dataroot_lq', 'dataroot_gt')}
    backend = require(dataset, 'io_backend', where)
    if require(backend, 'type', f'{where}.io_backend') != 'disk':
        for key, folder in folders.items():
            if not folder.exists():
                raise InputError(f'{folder} does not exist', where=f'{where}.{key}', do='Check the path')
        return
    lqs, gts = (list_images(folder, where=f'{where}.{key}') for key, folder in folders.items())
    check_complete(folders['dataroot_lq'].parent)
    if dataset.get('meta_info_file') is not None or dataset.get('filename_tmpl', '{}') != '{}':
        return
    names = {path.name for path in gts}
    missing = [path.name for path in lqs if path.name not in names]
    if missing or len(lqs) != len(gts):
        what = f'{len(lqs)} lq and {len(gts)} gt images do not pair'
        raise InputError(what + (f' ({missing[0]} has no gt)' if missing else ''), where=where, do='Give equal names')
    crop = int(require(dataset, 'gt_size', where)) if phase == 'train' else 0
    if crop % scale:
        raise InputError(f'gt_size {crop} is no multiple of the scale {scale}', where=where, do='Change gt_size')
    for lq in lqs:
        _check_images(lq, folders['dataroot_gt'] / lq.name, scale, crop, phase)


def _check_images(lq: Path, gt: Path, scale: int, crop: int, phase: str) -> None:
    lq_size, gt_size = image_size(lq), image_size(gt)
    if phase != 'train':  # the dataset crops what the scale leaves over
        gt_size = (gt_size[0] // scale * scale, gt_size[1] // scale * scale)
    check_pair(lq_size, gt_size, scale, where=gt)
    if min(gt_size) < crop:
        what = f'{gt_size[1]}x{gt_size[0]} pixels are less than the crop gt_size {crop}'
        raise InputError(what, where=gt, do='Lower gt_size or remove the image')
