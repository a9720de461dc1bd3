"""Checks of a BasicSR option file before anything is built: unknown keys, unknown names, data that cannot be used.

What counts as known is read off the code that will use it: the keys that a model's and a dataset's classes look up, and
the signatures of networks, losses, optimizers, schedulers and metrics. Nothing has to be kept in step by hand.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from typing import Any

import torch
from basicsr.data import build_dataloader
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from mea_plugin.basicsr.checks.paired_data import check_fidelity_data, check_paired_data
from mea_plugin.basicsr.checks.train import TRAIN_ONLY, check_train
from mea_plugin.basicsr.checks.val import check_val
from mea_plugin.basicsr.data.fidelity_dataset import FidelityDataset
from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys, check_number, check_section, require
from mea_plugin.core.packages import require_packages
from mea_plugin.toolboxes.basicsr_networks import check_type, find

__all__ = ['check_options']

# What basicsr/train.py and basicsr/utils/{options,logger}.py look up themselves.
_TOP = (
    *('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'path', 'train', 'val', 'logger'),
    *('dist_params', 'find_unused_parameters'),
)
_PATH = ('resume_state', 'ignore_resume_networks')
_WANDB = ('project', 'resume_id')
_LOGGER = ('print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb')
_DATASET = (
    *('name', 'type', 'prefetch_mode', 'batch_size_per_gpu', 'num_worker_per_gpu', 'dataset_enlarge_ratio'),
    *('dataroot_gt', 'dataroot_lq', 'phase', 'scale'),
)
_OWN_PACKAGES = ('basicsr', 'mea_plugin')


def check_options(opt: dict[str, Any], *, where: str, data: bool = True) -> None:
    """Check a whole option file.

    Sections of BasicSR and of this package are checked strictly; those of models and datasets of third parties pass.

    Args:
        opt: The options as read from the file.
        where: The file, for errors.
        data: Look at the data sets' folders too.

    Raises:
        InputError: The first thing found that cannot work.
    """
    for key in ('name', 'model_type', 'datasets', 'logger', 'train'):
        require(opt, key, where)
    check_section(opt['datasets'], f'{where}: datasets')
    if not isinstance(opt['name'], str) or '/' in opt['name'] or not opt['name'].strip('.'):
        raise InputError(f'name is {opt["name"]!r}', where=where, do='Give the name of a folder, a number in quotes')
    model = find(MODEL_REGISTRY, opt['model_type'], f'{where}: model_type')
    strict = model.__module__.split('.')[0] in _OWN_PACKAGES
    networks = [key for key in opt if key.startswith('network_')]
    check_number(opt, 'manual_seed', where, most=2**31, optional=True)  # numpy's may be twice that; ranks add theirs
    if strict:
        read = keys_read_by(model)
        _check_top(opt, read, networks, where)
    for key in networks:
        _check_network(opt[key], f'{where}: {key}')
    if strict:
        check_train(opt, model, read, where)
    _check_logger(opt['logger'], where)
    check_val(opt, model, where)
    require(opt['datasets'], 'train', f'{where}: datasets')
    for phase, dataset in opt['datasets'].items():
        _check_dataset(phase, dataset, opt, f'{where}: datasets.{phase}', data)


def _check_top(opt: dict[str, Any], read: frozenset[str], networks: list[str], where: str) -> None:
    known = [key for key in read if not key.endswith('_opt') and key not in TRAIN_ONLY]
    check_keys(opt, (*_TOP, *known, *networks), where)
    for key in networks:
        if key not in read:
            known = [name for name in read if name.startswith('network_')]
            check_keys({key: None}, known, where)
    names = [key.removeprefix('network_') for key in networks]
    path = [f'{kind}_{name}' for kind in ('pretrain_network', 'strict_load', 'param_key') for name in names]
    check_keys(opt.get('path') or {}, (*_PATH, *path), f'{where}: path')


def _check_network(options: Any, where: str) -> None:
    """Build it without values."""
    network = check_type(ARCH_REGISTRY, options, where)
    if network.__module__.split('.')[0] not in _OWN_PACKAGES:
        return
    try:
        with torch.device('meta'):
            network(**{key: value for key, value in options.items() if key != 'type'})
    except (AssertionError, TypeError, ValueError) as error:
        what = f'{network.__name__} cannot be built ({str(error) or type(error).__name__})'
        raise InputError(what, where=where, do='Correct its options') from error
    except Exception:  # it runs code that needs values, a GPU, or a compiler: the training will tell
        return


def _check_logger(logger: Any, where: str) -> None:
    check_keys(logger, _LOGGER, f'{where}: logger')
    for key in ('print_freq', 'save_checkpoint_freq'):
        check_number(logger, key, f'{where}: logger', least=1)
    require(logger, 'use_tb_logger', f'{where}: logger')
    wandb, section = logger.get('wandb') or {}, f'{where}: logger.wandb'
    check_keys(wandb, _WANDB, section)
    if wandb.get('project') and not logger['use_tb_logger']:
        raise InputError('it follows TensorBoard, which is off', where=section, do='Set logger.use_tb_logger: true')
    if wandb.get('project'):
        require_packages('it', 'wandb', where=section)


def _check_dataset(phase: str, dataset: Any, opt: dict[str, Any], where: str, data: bool) -> None:
    if phase.split('_')[0] not in ('train', 'val', 'test'):
        check_keys({phase: None}, ('train', 'val', 'test'), where.rpartition('.')[0])
    found = find(DATASET_REGISTRY, require(check_section(dataset, where), 'type', where), f'{where}.type')
    require(dataset, 'name', where)
    if phase == 'train':
        _check_loading(dataset, opt, where)
    if found.__module__.split('.')[0] not in _OWN_PACKAGES:
        return
    check_keys(dataset, {*_DATASET, *keys_read_by(found), *keys_read_by(build_dataloader)}, where)
    if data and inspect.isclass(found) and issubclass(found, PairedImageDataset):
        check_paired_data(dataset, phase.split('_')[0], opt, where)
    if found is FidelityDataset:
        if phase == 'train':
            raise InputError('it is for validation', where=f'{where}.type', do='Train with CachedPairedImageDataset')
        for key in ('dataroot_lq', 'dataroot_victim'):
            require(dataset, key, where)
        if data:
            check_fidelity_data(dataset, opt, where)


def _check_loading(dataset: Any, opt: dict[str, Any], where: str) -> None:
    """Check what the training's loader reads of any data set."""
    check_number(dataset, 'batch_size_per_gpu', where, least=1)
    check_number(dataset, 'num_worker_per_gpu', where)
    check_number(dataset, 'dataset_enlarge_ratio', where, least=1e-6, whole=False, optional=True)
    mode = dataset.get('prefetch_mode')
    if mode not in (None, 'cpu', 'cuda'):
        raise InputError(f'prefetch_mode is {mode!r}', where=where, do='Write cpu or cuda, or remove it')
    if mode == 'cuda' and (opt.get('num_gpu') == 0 or not torch.cuda.is_available()):
        do = 'Remove prefetch_mode'
        raise InputError('prefetch_mode cuda needs a GPU, and this run has none', where=where, do=do)


@functools.cache
def keys_read_by(target: Any) -> frozenset[str]:
    """The option keys that a function, or a class with its bases, looks up, as in ``opt['key']`` or ``.get('key')``."""
    sources = inspect.getmro(target) if inspect.isclass(target) else (target,)
    keys: set[str] = set()
    for source in sources:
        if getattr(source, '__module__', '').split('.')[0] in _OWN_PACKAGES:
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(source)))):
                keys |= _looked_up(node)
    return frozenset(keys)


def _looked_up(node: ast.AST) -> set[str]:
    key: ast.AST | None = None
    if isinstance(node, ast.Subscript):
        key = node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ('get', 'pop'):
        key = node.args[0] if node.args else None
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        key = node.left
    return {key.value} if isinstance(key, ast.Constant) and isinstance(key.value, str) else set()
