"""What an extraction needs to know of a toolbox, and which toolbox a surrogate's option file is for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys, check_number, check_section, require
from mea_plugin.query_sets import QuerySet

__all__ = ['Surrogate', 'read_surrogate', 'stretch']

# By the option file's ending; each is imported when it is asked for.
_LOCATIONS = {'.py': 'mea_plugin.extract.mmagic_run:MMagicSurrogate'}
_OTHER = 'mea_plugin.extract.basicsr_run:BasicSRSurrogate'


class Surrogate(Protocol):
    """One surrogate to train, with one toolbox.

    Attributes:
        name: How tables call it.
        options: Its options as JSON-like values, overrides applied: what its training depends on, beside the queries.
        total: Iterations of training.
        section: Of its option file: where ``known_defences`` stand.
    """

    name: str
    options: dict[str, Any]
    total: int
    section: str

    def seeded(self, seed: int) -> dict[str, Any]:
        """Its options with another seed."""
        ...

    def check(self, scale: int, where: str) -> None:
        """Refuse options that cannot be used, or that are for another scale, before a query is spent."""
        ...

    def weights(self, output: Path) -> Path:
        """Where training leaves the weights, below the extraction's folder."""
        ...

    def pretrained(self) -> list[str]:
        """The weight files that training starts from."""
        ...

    def write(self, queries: QuerySet, output: Path) -> Path:
        """Write the option file for training on a query set."""
        ...

    def command(self, option_file: Path, output: Path, resume: bool) -> list[str]:
        """Train; go on where an interrupted run was, if it was begun."""
        ...

    def as_victim(self, output: Path) -> dict[str, Any]:
        """The trained network as options of :func:`~mea_plugin.victims.build_victim`, for the evaluation."""
        ...


def read_surrogate(name: str, value: Any, *, where: str) -> Surrogate:
    """Read a surrogate's section.

    ``opt`` is an option file of BasicSR or MMagic, ``override`` a section that is laid over it, or a list of such
    sections; then ``length`` multiplies the iterations and all that is counted in them (a scheduler's periods and
    milestones, warm-up, intervals between checkpoints), ``seed`` replaces the training's, and ``known_defences`` are
    those on the victim's answers that training goes through (:mod:`mea_plugin.defences.through`).

    Raises:
        InputError: An option is missing or unknown, or the file cannot be read.
    """
    check_keys(value, ('opt', 'override', 'length', 'seed', 'known_defences'), where)
    opt = require(value, 'opt', where)
    if not isinstance(opt, str):
        raise InputError(f'opt is {opt!r}', where=where, do='Give an option file of BasicSR or MMagic')
    check_number(value, 'seed', where, optional=True, most=2**32 - 1)
    check_number(value, 'length', where, least=0.001, most=1000, whole=False, optional=True)
    overrides = value.get('override') or {}
    overrides = overrides if isinstance(overrides, list) else [overrides]
    checked = [check_section(one, f'{where}.override') for one in overrides]
    module, _, attribute = _LOCATIONS.get(Path(opt).suffix, _OTHER).partition(':')
    toolbox = getattr(importlib.import_module(module), attribute)
    if value.get('known_defences'):
        checked.append({toolbox.section: {'known_defences': [dict(one) for one in value['known_defences']]}})
    surrogate: Surrogate = toolbox(name, opt, checked, length=value.get('length') or 1, seed=value.get('seed'))
    return surrogate


def stretch(options: Any, keys: frozenset[str], factor: float) -> Any:
    """A copy of options in which every number below one of some keys is multiplied, and rounded to 1 or more.

    Args:
        options: Sections and lists of any depth.
        keys: Options that are counted in iterations; their values are numbers or lists of numbers.
        factor: By which.
    """
    if isinstance(options, Mapping):
        return {
            key: _times(value, factor) if key in keys else stretch(value, keys, factor)
            for key, value in options.items()
        }
    return [stretch(one, keys, factor) for one in options] if isinstance(options, list | tuple) else options


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, list | tuple):
        return [_times(one, factor) for one in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:  # off, as -1 or 0 are
        return value
    return max(1, round(value * factor))
