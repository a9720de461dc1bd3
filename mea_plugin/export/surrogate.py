"""The surrogate to export: its network with its weights, loaded as a victim's are, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mea_plugin import __version__
from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.core.options import load_options, require
from mea_plugin.core.paths import expanded
from mea_plugin.core.weights import read_checkpoint, select
from mea_plugin.victims.network import NetworkVictim

__all__ = ['Surrogate', 'load_basicsr', 'load_mmagic', 'load_surrogate']

_KEYS = ('params_ema', 'params')


@dataclass(frozen=True)
class Surrogate:
    """What is exported.

    Attributes:
        name: What the exported files are called.
        toolbox: ``basicsr`` or ``mmagic``.
        network: The network's ``type`` and arguments.
        weights: The file that the weights come from.
        victim: It, answering on the CPU: exported files must answer like this.
        last: The weights of the last iteration, where the file also has averaged ones, which are then the network's.
    """

    name: str
    toolbox: str
    network: dict[str, Any]
    weights: Path
    victim: NetworkVictim
    last: dict[str, Tensor] | None = None

    def as_victim(self, file: Path) -> dict[str, Any]:
        """The options of a victim that answers like this one from the weights in ``file``."""
        if self.toolbox == 'basicsr':
            return {'type': 'basicsr', 'network_g': self.network, 'weights': str(file)}
        wiring = self.victim.wiring
        return {
            'type': 'mmagic',
            'model': self.network,
            'checkpoint': str(file),
            'value_range': list(wiring.value_range),
            'channel_order': wiring.channel_order,
        }

    def metadata(self) -> dict[str, str]:
        """What it is and where it comes from, without what it takes and gives: that depends on the format."""
        return {
            'mea_plugin': __version__,
            'toolbox': self.toolbox,
            'network': str(self.network['type']),
            'network_options': json.dumps(self.network, default=str),
            'scale': str(self.victim.scale),
            'layout': 'NCHW',
            'dtype': 'float32',
            'source': self.weights.name,
            'source_sha256': hash_file(self.weights),
            'fingerprint': self.victim.fingerprint,
        }


def load_surrogate(
    opt: str | Path,
    weights: str | Path | None = None,
    *,
    param_key: str | None = None,
    target_domain: str | None = None,
    trusted: bool = False,
) -> Surrogate:
    """Load a surrogate by what it was trained with: an MMagic config (``.py``) or a BasicSR option file.

    Args:
        opt: The file. A config is Python: reading it runs it, as training did.
        weights: The weights; by default where training leaves them, seen from the current folder.
        param_key: See :func:`load_basicsr`.
        target_domain: See :func:`load_mmagic`.
        trusted: Whether the weight file may run code; what training leaves need not.

    Raises:
        InputError: A file is missing or damaged, the weights do not fit the network, or an option is for the other
            toolbox.
    """
    if Path(opt).suffix == '.py':
        if param_key is not None:
            raise InputError('--param-key is for BasicSR', where=opt, do='Remove it')
        return load_mmagic(opt, weights, target_domain=target_domain, trusted=trusted)
    if target_domain is not None:
        raise InputError('--target-domain is for MMagic', where=opt, do='Remove it')
    return load_basicsr(opt, weights, param_key=param_key, trusted=trusted)


def load_basicsr(
    opt: str | Path, weights: str | Path | None = None, *, param_key: str | None = None, trusted: bool = False
) -> Surrogate:
    """Load a surrogate that BasicSR trained.

    Args:
        opt: The option file; of it, only ``name`` and ``network_g`` matter.
        weights: By default ``experiments/NAME/models/net_g_latest.pth``.
        param_key: Which weights of the file; by default ``params_ema``, else ``params``.
        trusted: See :func:`load_surrogate`.

    Raises:
        InputError: See :func:`load_surrogate`.
    """
    options = load_options(opt)
    name = str(require(options, 'name', str(opt)))
    network = require(options, 'network_g', str(opt))
    if not isinstance(network, Mapping):
        raise InputError('network_g is no section', where=opt, do='Add network_g: {type: ..., ...}')
    path = _existing(weights or Path('experiments') / name / 'models' / 'net_g_latest.pth')

    def build() -> NetworkVictim:
        from mea_plugin.victims.basicsr import BasicSRVictim

        return BasicSRVictim(network, path, param_key, trusted, name=name, device='cpu')

    victim = _built(build, opt)
    last = None
    if param_key is None:
        held = read_checkpoint(path, trusted=trusted)
        last = select(held, ('params',), path) if all(key in held for key in _KEYS) else None
    return Surrogate(name, 'basicsr', dict(network), path, victim, last)


def load_mmagic(
    config: str | Path, weights: str | Path | None = None, *, target_domain: str | None = None, trusted: bool = False
) -> Surrogate:
    """Load a surrogate that MMagic trained: the generator alone, averaged weights preferred.

    Args:
        config: The config; reading it runs it.
        weights: A checkpoint; by default ``surrogate.pth`` in the config's work folder.
        target_domain: Which generator of a translation model; by default that of its ``default_domain``.
        trusted: See :func:`load_surrogate`.

    Raises:
        InputError: See :func:`load_surrogate`.
    """
    if not Path(config).is_file():
        raise InputError('no such config', where=config, do='Check the path')
    name = Path(config).stem

    def build() -> tuple[dict[str, Any], Path, NetworkVictim]:
        import mea_plugin.mmagic  # noqa: F401 - registers
        from mea_plugin.mmagic.run.train import WEIGHTS
        from mea_plugin.toolboxes.mmagic_config import load_config
        from mea_plugin.toolboxes.mmagic_networks import find_generator
        from mea_plugin.victims.mmagic import MMagicVictim

        content: dict[str, Any] = load_config(config).to_dict()
        path = _existing(weights or Path(content.get('work_dir') or Path('work_dirs') / name) / WEIGHTS)
        found = find_generator(content, target_domain)
        victim = MMagicVictim(
            path,
            model=content['model'],
            trusted=trusted,
            target_domain=target_domain,
            channel_order=found.channel_order,
            name=name,
            device='cpu',
        )
        return found.network, path, victim

    network, path, victim = _built(build, config)
    return Surrogate(name, 'mmagic', network, path, victim)


def _existing(weights: str | Path) -> Path:
    path = expanded(weights)
    if not path.is_file():
        raise InputError('no such weight file', where=path, do='Train the surrogate, or name the file with --weights')
    return path


def _built(build: Callable[[], Any], opt: str | Path) -> Any:
    """What ``build`` makes; complaints about a victim's options become complaints about this file."""
    try:
        return build()
    except InputError as error:
        do = error.do.replace('param_key', '--param-key').replace('trusted: true', '--trusted')
        raise InputError(error.what, where=_place(error.where, opt), do=do) from error
    except ImportError as error:  # the toolbox, or what it needs; the adapters say what to type
        raise InputError(f'its toolbox cannot be used ({str(error).rstrip(".")})', where=opt) from error


def _place(where: str, opt: str | Path) -> str:
    """Where an error about a victim belongs: what describes the network is in the option file."""
    section, _, option = where.partition('.')
    if section != 'victim' or not (option + '.').startswith(('.', 'network_g.', 'model.', 'target_domain.')):
        return where
    return f'{opt}: {option}' if option else str(opt)
