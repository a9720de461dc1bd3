"""A run to measure: a network of either toolbox as its options describe it, with one checkpoint after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import require
from mea_plugin.flatness.options import RunOptions
from mea_plugin.flatness.trajectory import Checkpoint, find_checkpoints
from mea_plugin.victims import build_victim
from mea_plugin.victims.network import NetworkVictim

__all__ = ['Run', 'read_runs']

# Which option of a type names the weights.
_FILES = {'basicsr': 'weights', 'mmagic': 'checkpoint', 'python': 'weights'}


@dataclass(frozen=True)
class Run:
    """A run and its checkpoints.

    Attributes:
        name: How tables call it.
        options: Of a victim, but for the file.
        checkpoints: In the order of training.
        where: The option file and section, for errors.
    """

    name: str
    options: dict[str, Any]
    checkpoints: list[Checkpoint]
    where: str

    def build(self, checkpoint: Checkpoint) -> NetworkVictim:
        """The network with the weights of a checkpoint, which may change from here on.

        Raises:
            InputError: It cannot be built, or the weights do not fit it.
        """
        key = _FILES[self.options['type']]
        try:
            victim = build_victim({**self.options, key: str(checkpoint.path)}, where=self.where)
        except InputError as error:  # which of many checkpoints it is about
            if error.where.startswith((str(checkpoint.path), self.where)):
                raise
            what = f'{error.where}: {error.what}' if error.where else error.what
            raise InputError(what, where=checkpoint.path, do=error.do) from error
        assert isinstance(victim, NetworkVictim)
        network = victim.wiring.network
        if not any(True for _ in network.parameters()):
            raise InputError(f'{victim.name} has no weights', where=self.where, do='Give a network that has some')
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return victim


def read_runs(runs: Mapping[str, RunOptions], device: str, where: str) -> list[Run]:
    """The runs of an option file, with their checkpoints.

    Args:
        runs: By name.
        device: Where a run without one of its own is measured.
        where: The option file and section, for errors.

    Raises:
        InputError: No checkpoint matches.
    """
    return [_read(name, run, device, f'{where}.{name}') for name, run in runs.items()]


def _read(name: str, run: RunOptions, device: str, where: str) -> Run:
    options, key = {'type': run.type, **(run.model_extra or {})}, _FILES[run.type]
    checkpoints = find_checkpoints(require(options, key, where), f'{where}.{key}')
    return Run(name, {'device': device, **options}, checkpoints, where)
