"""What an extraction needs to know of a toolbox, and which toolbox a surrogate's option file is for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from mea_plugin.core.schema import Number, Options, Registered, Section, Whole
from mea_plugin.query_sets import QuerySet

__all__ = ['Surrogate', 'SurrogateOptions', 'read_surrogate', 'stretch']

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


class SurrogateOptions(Options):
    """A network that is trained on the victim's answers."""

    opt: str
    """Option file of BasicSR (.yml) or config of MMagic (.py) for its training."""
    override: dict[str, Any] | list[dict[str, Any]] = Field(default=[])
    """Options that replace those of `opt`, section by section; of a list, a later entry replaces an earlier one."""
    length: Annotated[float, Number(0.001, 1000)] = 1.0
    """Factor on the iterations, and on all that is counted in them: schedules, warm-up, intervals of checkpoints."""
    seed: Annotated[int, Whole(0, 2**32 - 1)] | None = None
    """Seed of the training, instead of that of `opt`."""
    known_defences: list[Annotated[Section, Registered('defence')]] = Field(default=[])
    """Defences on the victim's answers that the training applies to the surrogate's output, too."""

    @property
    def overrides(self) -> list[dict[str, Any]]:
        """The overrides, in the order in which they apply."""
        return self.override if isinstance(self.override, list) else [self.override]

    def build(self, name: str) -> Surrogate:
        """Read the option file with the toolbox that it is for.

        Args:
            name: How tables call the surrogate.

        Raises:
            InputError: The file cannot be read, or an override does not fit.
        """
        module, _, attribute = _LOCATIONS.get(Path(self.opt).suffix, _OTHER).partition(':')
        toolbox = getattr(importlib.import_module(module), attribute)
        known = [{toolbox.section: {'known_defences': self.known_defences}}] if self.known_defences else []
        surrogate: Surrogate = toolbox(name, self.opt, [*self.overrides, *known], length=self.length, seed=self.seed)
        return surrogate


def read_surrogate(name: str, value: Any, *, where: str) -> Surrogate:
    """Check a surrogate's section and read its option file.

    Args:
        name: How tables call the surrogate.
        value: :class:`SurrogateOptions`, or the section as the option file has it.
        where: The file and the section, for errors.

    Raises:
        InputError: An option is missing or unknown, or the file cannot be read.
    """
    return SurrogateOptions.parse(value, where).build(name)


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
