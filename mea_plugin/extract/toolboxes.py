"""What an extraction needs to know of a toolbox, and which toolbox a surrogate's option file is for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from mea_plugin.options import check_keys, check_section, require
from mea_plugin.query import QuerySet

__all__ = ['Surrogate', 'read_surrogate']

# By the option file's ending; each is imported when it is asked for.
_LOCATIONS = {'.py': 'mea_plugin.extract.mmagic_run:MMagicSurrogate'}
_OTHER = 'mea_plugin.extract.basicsr_run:BasicSRSurrogate'


class Surrogate(Protocol):
    """One surrogate to train, with one toolbox.

    Attributes:
        name: How tables call it.
        options: Its options as JSON-like values, overrides applied: what its training depends on, beside the queries.
        total: Iterations of training.
    """

    name: str
    options: dict[str, Any]
    total: int

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
    """Read a surrogate's section: ``opt``, an option file of BasicSR or MMagic, and ``override``.

    Raises:
        InputError: An option is missing or unknown, or the file cannot be read.
    """
    check_keys(value, ('opt', 'override'), where)
    opt = require(value, 'opt', where)
    override = check_section(value.get('override') or {}, f'{where}.override')
    module, _, attribute = _LOCATIONS.get(Path(opt).suffix, _OTHER).partition(':')
    surrogate: Surrogate = getattr(importlib.import_module(module), attribute)(name, opt, override)
    return surrogate
