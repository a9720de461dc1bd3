"""Checks of the folders that the data sets will read, before training starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.images import check_pair, image_size, list_images
from mea_plugin.core.options import require
from mea_plugin.core.pairs import check_paired
from mea_plugin.core.paths import expanded
from mea_plugin.data.lmdb_images import lmdb_entries
from mea_plugin.query_sets.fidelity_pairs import list_fidelity_pairs
from mea_plugin.query_sets.layout import check_whole

__all__ = ['check_fidelity_data', 'check_paired_data']


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
    folders = {key: expanded(require(dataset, key, where)) for key in ('dataroot_lq', 'dataroot_gt')}
    crop = int(require(dataset, 'gt_size', where)) if phase == 'train' else 0
    for key in ('use_hflip', 'use_rot') if phase == 'train' else ():
        if key not in dataset:
            raise InputError(f"the option '{key}' is missing", where=where, do='Write true or false')
    if crop % scale:
        raise InputError(f'gt_size {crop} is no multiple of the scale {scale}', where=where, do='Change gt_size')
    backend = require(require(dataset, 'io_backend', where), 'type', f'{where}.io_backend')
    if backend == 'lmdb':
        _check_lmdb(dataset, scale, crop, phase, where)
        return
    if backend != 'disk':
        for key, folder in folders.items():
            if not folder.exists():
                raise InputError(f'{folder} does not exist', where=f'{where}.{key}', do='Check the path')
        return
    lqs, gts = (list_images(folder, where=f'{where}.{key}') for key, folder in folders.items())
    check_whole(folders['dataroot_lq'].parent)
    if dataset.get('meta_info_file') is not None or dataset.get('filename_tmpl', '{}') != '{}':
        return
    named = {label: {path.name: path for path in paths} for label, paths in (('lq', lqs), ('gt images', gts))}
    check_paired(named, where=where, do='Give equal names')
    for lq in lqs:
        gt = folders['dataroot_gt'] / lq.name
        _check_sizes(image_size(lq), image_size(gt), scale, crop, phase, gt)


def check_fidelity_data(dataset: Mapping[str, Any], opt: Mapping[str, Any], where: str) -> None:
    """Check the folders of a :class:`~mea_plugin.basicsr.data.fidelity_dataset.FidelityDataset`, headers only.

    Raises:
        InputError: One is missing or empty, they do not pair, or an image has the wrong size.
    """
    scale = int(require(opt, 'scale', where.partition(':')[0]))
    folders = {key: require(dataset, f'dataroot_{key}', where) for key in ('lq', 'victim')}
    folders['gt'] = dataset.get('dataroot_gt')
    list_fidelity_pairs(folders, scale=scale, crops=True, where=where)


def _check_lmdb(dataset: Mapping[str, Any], scale: int, crop: int, phase: str, where: str) -> None:
    """Check keys and sizes by what the two ``meta_info.txt`` say."""
    sizes: list[dict[str, tuple[int, int]]] = []
    for option in ('dataroot_lq', 'dataroot_gt'):
        folder = str(dataset[option])
        if not folder.endswith('.lmdb'):
            do = 'Give a folder NAME.lmdb (tools/prepare_data.py lmdb makes them), or set io_backend.type: disk'
            raise InputError(f'{folder} does not end in .lmdb', where=f'{where}.{option}', do=do)
        sizes.append({entry.key: entry.size for entry in lmdb_entries(folder, where=f'{where}.{option}')})
        dotted = [key for key in sizes[-1] if '.' in key or not key.isascii()]
        if dotted:
            what = f"BasicSR cannot find the key '{dotted[0]}' again"
            raise InputError(what, where=folder, do='Make the LMDB with keys of letters and digits')
    lqs, gts = sizes
    check_paired({'lq': lqs, 'gt images': gts}, where=where, do='Give equal keys')
    for key, size in lqs.items():
        _check_sizes(size, gts[key], scale, crop, phase, f'{dataset["dataroot_gt"]}[{key}]')


def _check_sizes(
    lq_size: tuple[int, int], gt_size: tuple[int, int], scale: int, crop: int, phase: str, gt: str | Path
) -> None:
    if phase != 'train':  # the dataset crops what the scale leaves over
        gt_size = (gt_size[0] // scale * scale, gt_size[1] // scale * scale)
    check_pair(lq_size, gt_size, scale, where=gt)
    if min(gt_size) < crop:
        what = f'{gt_size[1]}x{gt_size[0]} pixels are less than the crop gt_size {crop}'
        raise InputError(what, where=gt, do='Lower gt_size or remove the image')
