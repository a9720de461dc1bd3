"""Every work-around for MMagic 1.2.0, MMEngine 0.10 and MMCV 2, or for a numpy or torch newer than they know.

Each says what it answers and touches nothing where it is not needed. Nothing else in this package patches the toolbox.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy
import torch

from mea_plugin.core.errors import InputError
from mea_plugin.core.launch import join_process_group
from mea_plugin.core.packages import check_installed
from mea_plugin.core.plain_pickle import Stub
from mea_plugin.optim import SAM
from mea_plugin.toolboxes.mediapipe_compat import hide_broken_mediapipe
from mea_plugin.toolboxes.safe_loading import (
    load_with_stubs,
    read_published_weights_as_data,
    read_safely,
    unpickle_safely,
)

__all__ = ['apply', 'with_log_history']

# What numpy 2 removed, and what it has instead.
_NUMPY_NAMES = {
    'bool8': 'bool_',
    'float_': 'float64',
    'complex_': 'complex128',
    'unicode_': 'str_',
    'product': 'prod',
    'cumproduct': 'cumprod',
    'alltrue': 'all',
    'sometrue': 'any',
    'in1d': 'isin',
    'row_stack': 'vstack',
    'round_': 'round',
    'Inf': 'inf',
    'NaN': 'nan',
}


@functools.cache
def apply() -> None:
    """Make MMagic importable, able to train translation models, and able to run without a GPU. Idempotent.

    Raises:
        ModuleNotFoundError: MMagic, or what it needs and does not ask for, is not installed.
    """
    check_installed('mmagic')
    check_installed('mmengine', 'mmcv')
    _quiet_imports()
    hide_broken_mediapipe()
    _provide_numpy_names()
    _provide_mmcv_ext()
    _read_files_as_data()
    _list_in_order()
    _distribute_without_gpu()
    _enter_no_sync_per_submodule()
    _build_amp_on_cpu()
    _refuse_hidden_second_pass()
    _initialise_translation_networks()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split('+')[0].split('.')[:2])


def _mmengine_needs_it() -> bool:
    """Whether this MMEngine has the faults of 0.10.7 and 0.11.0rc0, the last ones looked at."""
    import mmengine

    return _version(mmengine.__version__) <= (0, 11)


def _mmagic_needs_it() -> bool:
    """Whether this MMagic has the faults of 1.2.0, the last release."""
    import mmagic

    return _version(mmagic.__version__) <= (1, 2)


def _quiet_imports() -> None:
    """Leave out what MMagic's requirements say about each other on import: a user can do nothing about it.

    diffusers 0.24 and transformers 4.36 use a name that torch 2.2 renamed, MMEngine 0.10 uses pkg_resources.
    """
    warnings.filterwarnings('ignore', message='.*_register_pytree_node. is deprecated', category=FutureWarning)
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated', category=UserWarning)


def _provide_numpy_names() -> None:
    """Provide names that MMagic 1.2.0 (``bool8``) and packages of its time use, and numpy 2 removed."""
    for old, new in _NUMPY_NAMES.items():
        if _version(numpy.__version__) >= (2, 0) and old not in vars(numpy):
            setattr(numpy, old, getattr(numpy, new))


def _provide_mmcv_ext() -> None:
    """Provide ``mmcv._ext`` where MMCV came without its compiled operators (mmcv-lite).

    ``mmcv.ops`` looks up its operators there on import, and ``mmagic.models`` imports ``mmcv.ops``. No network that is
    used here needs one; calling one says so. A compiled ``mmcv._ext`` is left alone.
    """
    name = 'mmcv._ext'
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        module = _MissingOperators(name)
        # Without a loader, MMEngine's mmcv_full_available() goes on to say no.
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        sys.modules[name] = module


class _MissingOperators(types.ModuleType):
    """A module in which every operator exists and none works."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise RuntimeError(
                f'mmcv._ext.{name} was not compiled: this is mmcv-lite. Install the full one: pip uninstall mmcv-lite, '
                "then pip install 'mmcv>=2.0,<2.2'"
            )

        return missing


def _read_files_as_data() -> None:
    """Let MMEngine and MMagic read weights and pickles without executing code in them.

    MMEngine 0.10.7 calls plain ``torch.load`` wherever a checkpoint is named: ``load_from``, ``resume``, ``init_cfg``,
    ``pretrained``. With torch 2.6 and later that refuses its own checkpoints, for the log in them
    (open-mmlab/mmengine#1655); before, it runs code. Feature files of MMagic's metrics and annotation files
    are pickles.
    """
    from mmengine.fileio.handlers import pickle_handler
    from mmengine.runner import checkpoint

    read_safely(checkpoint, lambda *args, **kwargs: with_log_history(load_with_stubs(*args, **kwargs)))
    unpickle_safely(pickle_handler)
    for name in ('mmagic.evaluation.functional.inception_utils', 'mmagic.evaluation.functional.fid_inception'):
        module = importlib.import_module(name)
        (unpickle_safely if 'pickle' in vars(module) else read_safely)(module)
    read_published_weights_as_data()


def with_log_history(state: Any) -> Any:
    """A checkpoint with MMEngine's log history in place of the stand-ins for it; it is changed.

    Args:
        state: As :func:`~mea_plugin.core.torch_files.read_torch_file` gives it.
    """
    from mmengine.logging import HistoryBuffer

    hub = state.get('message_hub') if isinstance(state, dict) else None
    scalars = hub.get('log_scalars') if isinstance(hub, dict) else None
    if not isinstance(scalars, dict):
        return state
    for name, stub in list(scalars.items()):
        held: dict[str, Any] = stub.state if isinstance(stub, Stub) and isinstance(stub.state, dict) else {}
        values, counts, length = (held.get(key) for key in ('_log_history', '_count_history', 'max_length'))
        fits = getattr(values, 'ndim', 0) == 1 and getattr(counts, 'shape', None) == getattr(values, 'shape', ())
        if fits and type(length) is int and length > 0:
            scalars[name] = HistoryBuffer(values, counts, length)
        elif isinstance(stub, Stub):
            del scalars[name]
    return state


def _list_in_order() -> None:
    """Let MMEngine list folders by name, not as the file system does (0.10.7, 0.11.0rc0).

    The order differs between machines, and after a copy: ranks on two of them would share samples, and a resumed run
    would see others.
    """
    if not _mmengine_needs_it():
        return
    from mmengine.fileio import LocalBackend

    original = LocalBackend.list_dir_or_file

    @functools.wraps(original)
    def list_dir_or_file(self: Any, *args: Any, **kwargs: Any) -> Iterator[str]:
        return iter(sorted(original(self, *args, **kwargs)))

    LocalBackend.list_dir_or_file = list_dir_or_file


def _distribute_without_gpu() -> None:
    """Let ``--launcher pytorch``, ``slurm`` and ``mpi`` run with gloo on CPUs.

    MMEngine (0.10.7, 0.11.0rc0) sets a CUDA device, and hands ``device_ids`` to DistributedDataParallel, whatever the
    device.
    """
    if not _mmengine_needs_it():
        return
    from mmengine.dist import utils
    from mmengine.model import MMDistributedDataParallel
    from mmengine.runner import runner

    original = utils.init_dist

    @functools.wraps(original)
    def init_dist(launcher: str, backend: str = 'nccl', init_backend: str = 'torch', **kwargs: Any) -> None:
        if torch.cuda.is_available() or launcher not in ('pytorch', 'slurm', 'mpi'):
            original(launcher, backend, init_backend, **kwargs)
            return
        join_process_group(launcher, gpu=False, port=kwargs.get('port'), timeout=kwargs.get('timeout'))

    utils.init_dist = init_dist
    runner.init_dist = init_dist

    original_wrapper = MMDistributedDataParallel.__init__

    @functools.wraps(original_wrapper)
    def wrap(self: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        if all(param.device.type == 'cpu' for param in module.parameters()):
            kwargs['device_ids'] = None
        original_wrapper(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = wrap


def _enter_no_sync_per_submodule() -> None:
    """Repair ``MMSeparateDistributedDataParallel.no_sync``, which yields once per submodule.

    Python then says "generator didn't stop" for two of them (MMEngine 0.10.7, 0.11.0rc0).
    """
    if not _mmengine_needs_it():
        return
    from mmengine.model import MMSeparateDistributedDataParallel

    @contextlib.contextmanager
    def no_sync(self: Any) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for submodule in self.module._modules.values():
                if hasattr(submodule, 'no_sync'):
                    stack.enter_context(submodule.no_sync())
            yield

    MMSeparateDistributedDataParallel.no_sync = no_sync


def _build_amp_on_cpu() -> None:
    """Let ``AmpOptimWrapper`` be built for bfloat16 on a CPU.

    MMEngine (0.10.7, 0.11.0rc0) asserts an accelerator for any type (open-mmlab/mmpretrain#1556).
    """
    if not _mmengine_needs_it():
        return
    from mmengine.optim.optimizer import amp_optimizer_wrapper as module

    original = module.AmpOptimWrapper.__init__

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        dtype = args[1] if len(args) > 1 else kwargs.get('dtype')
        check = module.is_cuda_available
        try:
            if dtype in ('bfloat16', torch.bfloat16):
                module.is_cuda_available = lambda: True
            original(self, *args, **kwargs)
        finally:
            module.is_cuda_available = check

    module.AmpOptimWrapper.__init__ = init


def _refuse_hidden_second_pass() -> None:
    """Refuse SAM and its variants in a wrapper that runs one pass: they would silently train as their base does."""
    from mmengine.optim import OptimWrapper

    original = OptimWrapper.__init__

    @functools.wraps(original)
    def init(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(optimizer, SAM) and not getattr(self, 'takes_second_pass', False):
            raise InputError(
                f'{type(self).__name__} runs one pass, and {type(optimizer).__name__} needs {optimizer.needs}',
                where='optim_wrapper.type',
                do='Use SAMOptimWrapper, or SAMAmpOptimWrapper for mixed precision',
            )
        original(self, optimizer, *args, **kwargs)

    OptimWrapper.__init__ = init


def _initialise_translation_networks() -> None:
    """Repair ``generation_init_weights``, which ends in ``UnboundLocalError: init_info`` (open-mmlab/mmagic#2109).

    In MMagic 1.2.0 it writes into MMEngine's notes of how each parameter was initialised, and for a module that it does
    not initialise, such as the network itself, it has nothing to write. It runs without the notes.
    """
    if not _mmagic_needs_it():
        return
    from mmagic.models.utils import model_utils

    original = model_utils.generation_init_weights

    @functools.wraps(original)
    def generation_init_weights(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        key = '_params_init_info'
        notes = [(part, part.__dict__.pop(key)) for part in module.modules() if key in part.__dict__]
        try:
            original(module, *args, **kwargs)
        finally:
            for part, note in notes:
                part.__dict__[key] = note

    for name, module in list(sys.modules.items()):
        if name.startswith('mmagic.') and vars(module).get('generation_init_weights') is original:
            vars(module)['generation_init_weights'] = generation_init_weights
