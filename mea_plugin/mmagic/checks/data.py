"""Checks of the training data: that a pipeline gives what the model looks at, and that every query has its response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmagic.registry import DATASETS

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import require
from mea_plugin.core.paths import expanded
from mea_plugin.mmagic.checks.config_types import check_count, check_dict, check_type, is_kind
from mea_plugin.mmagic.checks.terms import check_terms
from mea_plugin.mmagic.data.query_set_dataset import QuerySetDataset
from mea_plugin.mmagic.models.objective import ExtractionArguments, terms_of
from mea_plugin.mmagic.models.translation import TranslationExtraction
from mea_plugin.query_sets.layout import list_pairs
from mea_plugin.toolboxes.mmagic_networks import find_generator, find_scale

__all__ = ['check_data']


def check_data(cfg: Any, kind: Any, where: str, *, folders: bool) -> None:
    """Check the training data set of a config.

    Args:
        cfg: The whole config.
        kind: The model's class.
        where: The file, for errors.
        folders: Look into the folders as well: headers only, so that ten thousand images cost seconds.

    Raises:
        InputError: Domains, crops or files do not fit the model or each other.
    """
    loader = check_dict(cfg['train_dataloader'], f'{where}: train_dataloader')
    at = f'{where}: train_dataloader.dataset'
    dataset = check_dict(require(loader, 'dataset', f'{where}: train_dataloader'), at)
    while isinstance(dataset.get('dataset'), Mapping):  # RepeatDataset
        dataset = dataset['dataset']
    dataset_kind = check_type(DATASETS, dataset, at)
    _check_loader(loader, f'{where}: train_dataloader')
    steps = dataset.get('pipeline') or []
    if not isinstance(steps, list | tuple) or not all(isinstance(step, Mapping) for step in steps):
        raise InputError(
            f'expected a list of transforms, got {steps!r}', where=f'{at}.pipeline', do='Write [dict(...)]'
        )
    model = cfg['model']
    if is_kind(kind, TranslationExtraction):
        _check_domains(model, where)
        _check_images(model, steps, dataset_kind, dataset, where)
    smallest = _check_crops(cfg, steps, kind, where)
    if folders:
        _check_folders(cfg, dataset_kind, dataset, smallest, at)


def _check_loader(loader: Mapping[str, Any], where: str) -> None:
    check_count(loader, 'batch_size', 1, where)
    check_count(loader, 'num_workers', 0, where)
    if loader.get('persistent_workers') and not loader.get('num_workers'):
        raise InputError('persistent_workers needs num_workers', where=where, do='Set persistent_workers=False')


def _check_domains(model: Mapping[str, Any], where: str) -> None:
    default, reachable, related = (
        model.get(key, ()) for key in ('default_domain', 'reachable_domains', 'related_domains')
    )
    at = f'{where}: model'
    if not (_are_names(reachable) and _are_names(related)):
        what = f'reachable_domains is {reachable!r} and related_domains is {related!r}'
        raise InputError(what, where=at, do='Give a list of names for each')
    if len(set(related)) != 2:
        raise InputError(f'related_domains is {list(related)}', where=at, do='Name the two domains of a pair')
    if not set(reachable) <= set(related):
        raise InputError(
            f'reachable_domains {list(reachable)} are not all in related_domains {list(related)}',
            where=at,
            do='Use the same names in both',
        )
    if default not in reachable:
        raise InputError(
            f"default_domain '{default}' is not in reachable_domains {list(reachable)}", where=at, do='Use one of them'
        )


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _check_images(
    model: Mapping[str, Any], steps: Sequence[Any], dataset_kind: Any, dataset: Mapping[str, Any], where: str
) -> None:
    """That the images which the model looks at are packed, and those which are loaded are there."""
    at = f'{where}: train_dataloader.dataset.pipeline'
    packed = {key for step in steps if step.get('type') == 'PackInputs' for key in _list(step.get('keys', []))}
    wanted = {f'img_{domain}' for domain in model['related_domains']}
    weights = model.get('loss_config') or {}
    if 'Cycle' in str(model['type']) and (terms_of(model) or weights.get('paired_loss_weight')):
        wanted |= {f'paired_{domain}' for domain in model['reachable_domains']}
    if packed and (missing := sorted(wanted - packed)):
        raise InputError(
            f'the model wants {", ".join(missing)}, the pipeline packs {", ".join(sorted(packed))}',
            where=at,
            do='Give model and pipeline the same domains, and pack all their images',
        )
    if dataset_kind is QuerySetDataset:
        given = QuerySetDataset.keys(bool(dataset.get('unpaired')))
        loaded = {
            str(step['key']) for step in steps if str(step.get('type', '')).endswith('FromFile') and 'key' in step
        }
        if missing := sorted(loaded - set(given)):
            raise InputError(
                f'the pipeline loads {", ".join(missing)}, the data set gives {", ".join(given)}',
                where=at,
                do='Load what it gives; with unpaired=True it gives all four images',
            )


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_crops(cfg: Any, steps: Sequence[Any], kind: Any, where: str) -> int:
    """Check the crops against the loss terms and the network.

    Returns:
        How many pixels high and wide a response must be, at least, so that the pipeline can crop it.
    """
    model = cfg['model']
    crops = [min(step['crop_size']) for step in steps if 'crop_size' in step]
    crops += [step['gt_patch_size'] for step in steps if 'gt_patch_size' in step]
    if not crops:
        return 1
    if is_kind(kind, ExtractionArguments):
        check_terms(model, min(crops), f'{where}: model')
    if is_kind(kind, TranslationExtraction):
        multiple = find_generator(cfg).multiple
        odd = [size for step in steps for size in step.get('crop_size', ()) if size % multiple]
        if odd:
            raise InputError(
                f'a crop of {odd[0]} pixels is no multiple of {multiple}, which the generator needs',
                where=f'{where}: train_dataloader.dataset.pipeline',
                do='Change crop_size, or the depth of the generator',
            )
    resized = any(str(step.get('type')) in ('Resize', 'RandomResizedCrop') for step in steps)
    return 1 if resized else max(crops)


def _check_folders(cfg: Any, kind: Any, dataset: Mapping[str, Any], smallest: int, where: str) -> None:
    """Look at the files of a query set, or of two folders that are read as pairs."""
    from mmagic.datasets import BasicImageDataset

    root = expanded(dataset.get('data_root') or '')
    if kind is QuerySetDataset:
        names, scale = (dataset.get('query_dir', 'query'), dataset.get('response_dir', 'response')), 1
    elif kind is BasicImageDataset and set(dataset.get('data_prefix') or ()) == {'img', 'gt'}:
        if dataset.get('ann_file') or dataset.get('filename_tmpl'):
            return
        names = tuple(dataset['data_prefix'][key] for key in ('img', 'gt'))
        scale = find_scale(find_generator(cfg), where=f'{where.partition(": ")[0]}: model.generator')
    else:
        return
    list_pairs(root / names[0], root / names[1], scale=scale, smallest=smallest, where=f'{where}.data_root')
