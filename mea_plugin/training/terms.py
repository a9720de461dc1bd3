"""Loss terms beside a toolbox model's own: the high-frequency penalty and any others, the same in both adapters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_section, require
from mea_plugin.defences.through import ThroughDefences
from mea_plugin.losses.schedule import SCHEDULES, weight_factor

__all__ = ['ExtractionObjective', 'LossTerms', 'TermOptions', 'read_terms', 'try_term']

HF = 'hf'
"""The name of the high-frequency penalty's term."""

# First words of the names under which the toolboxes' models log terms of their own.
_TAKEN = (HF, 'pix', 'pixel', 'percep', 'perceptual', 'style', 'gan', 'ldl', 'cycle', 'id', 'paired', 'd', 'g')
_NAME = re.compile(r'[a-z][a-z0-9_]*')


@dataclass(frozen=True)
class TermOptions:
    """A loss term as an option file describes it.

    Attributes:
        name: What the log calls it, without a prefix.
        loss: ``type`` and the loss's own arguments, its weight among them.
        schedule: One of :data:`~mea_plugin.losses.schedule.SCHEDULES`.
        where: The section it stands in, for errors.
        schedule_at: The option that holds the schedule, for errors.
    """

    name: str
    loss: dict[str, Any]
    schedule: str
    where: str
    schedule_at: str


def read_terms(hf: Any, hf_schedule: Any, extra: Any, *, hf_option: str, where: str) -> list[TermOptions]:
    """The terms of a section, checked as far as that needs no toolbox.

    Args:
        hf: The high-frequency penalty's options, the first term; None or empty for none.
        hf_schedule: Its schedule.
        extra: The option ``extra_losses``: a list of sections with ``type``, optionally ``name`` (by default the type
            in lower case, without ``Loss``) and ``schedule``, and the loss's arguments; None for no others.
        hf_option: What the toolbox calls the penalty's option.
        where: The section that holds all three, for errors.

    Raises:
        InputError: Not a list, an entry without a type, an unknown schedule, a schedule without a penalty, or a name
            that is taken.
    """
    terms = []
    _check_schedule(hf_schedule, f'{where}.hf_schedule')
    if hf:
        terms.append(TermOptions(HF, dict(hf), hf_schedule, f'{where}.{hf_option}', f'{where}.hf_schedule'))
    elif hf_schedule != 'constant':
        do = f'Add {hf_option} or remove hf_schedule'
        raise InputError(f'there is no {hf_option} to schedule', where=f'{where}.hf_schedule', do=do)
    section = f'{where}.extra_losses'
    if not isinstance(extra, list | tuple | None):
        raise InputError(f'extra_losses is {extra!r}', where=section, do='Give a list of losses, each with a type')
    for index, options in enumerate(extra or ()):
        terms.append(_read_term(options, f'{section}[{index}]', [term.name for term in terms]))
    return terms


def _read_term(options: Any, where: str, taken: Sequence[str]) -> TermOptions:
    kind = require(check_section(options, where), 'type', where)
    name, schedule = options.get('name') or _default_name(kind), options.get('schedule', 'constant')
    _check_schedule(schedule, f'{where}.schedule')
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        what = f'the name of a term is {name!r}'
        raise InputError(what, where=f'{where}.name', do='Use lower-case letters, digits and _')
    if name in taken or name.split('_')[0] in _TAKEN:
        what = f"another term is called '{name}'" if name in taken else f"'{name}' may be a term of the model's own"
        raise InputError(what, where=f'{where}.name', do='Give the entry another name')
    loss = {key: value for key, value in options.items() if key not in ('name', 'schedule')}
    return TermOptions(name, loss, schedule, where, f'{where}.schedule')


def _default_name(kind: Any) -> str:
    """``focal_frequency`` for ``FocalFrequencyLoss``, ``mse`` for ``MSELoss``."""
    name = str(getattr(kind, '__name__', kind)).removesuffix('Loss')
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', '_', name).lower()


def _check_schedule(schedule: Any, where: str) -> None:
    if schedule not in SCHEDULES:
        raise InputError(f"no schedule '{schedule}'", where=where, do=suggestion(str(schedule), SCHEDULES))


class LossTerms:
    """Loss terms ``factor * loss(pred, target)``, with the factor 1 or, by schedule, ``1 - lr / lr_0``.

    Source of the schedule: Mi et al., AAAI 2024, and its published code.

    Args:
        options: Of each term, in the order of the log.
        build: Makes a term's loss.

    Attributes:
        losses: The losses by their terms' names.
    """

    def __init__(self, options: Iterable[TermOptions], build: Callable[[TermOptions], nn.Module]) -> None:
        self._options = list(options)
        self.losses = {one.name: build(one) for one in self._options}
        self._factors = dict.fromkeys(self.losses, 1.0)

    def __len__(self) -> int:
        return len(self._options)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the factors from the learning rate of the generator's optimizer.

        Raises:
            InputError: No scheduler is attached to it, so that with ``lr`` the weight would stay 0.
        """
        for one in self._options:
            # Schedulers note `initial_lr` in each group when they are built, before the first step.
            if one.schedule == 'lr' and 'initial_lr' not in optimizer.param_groups[0]:
                raise InputError(
                    "no scheduler lowers the learning rate, so the term's weight would stay 0 with 'lr'",
                    where=one.schedule_at,
                    do="Add a scheduler that does, or use 'constant'",
                )
            self._factors[one.name] = weight_factor(one.schedule, optimizer)

    def __call__(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The weighted terms by name.

        Args:
            pred: Float ``(N, C, H, W)`` of any range.
            target: The same shape.
        """
        return {name: self._factors[name] * _total(loss(pred, target)) for name, loss in self.losses.items()}


def _total(value: Any) -> Tensor:
    """A loss's value; the toolboxes' perceptual losses return a pair, of which one may be None."""
    return value if isinstance(value, Tensor) else torch.as_tensor(sum(part for part in value if part is not None))


class ExtractionObjective:
    """Mixin before a toolbox's model: what extraction adds to its objective.

    Attributes:
        terms: Loss terms beside the model's own; there may be none.
        through: The known defences on the victim's answers, or None.
    """

    terms: LossTerms
    through: ThroughDefences | None

    def _build_objective(
        self, options: Iterable[TermOptions], build: Callable[[TermOptions], nn.Module], known: Any, *, where: str
    ) -> None:
        self.terms = LossTerms(options, build)
        self.through = ThroughDefences(known, where=f'{where}.known_defences') if known else None

    def _shown(self, output: Tensor) -> Tensor:
        """An output as the victim's answers are shown, if the defences on them are known."""
        return self.through(output) if self.through else output


def try_term(one: TermOptions, build: Callable[[], nn.Module], crop: int | None) -> None:
    """Build a term's loss and run it on two blank crops: its options may fit neither the loss nor the size.

    Args:
        one: The term.
        build: Makes its loss, without logging.
        crop: Height and width of training crops, where they are known.

    Raises:
        InputError: Either fails.
    """
    do = 'Correct its options' if crop is None else f'Correct its options; training crops are {crop} x {crop}'
    try:
        loss = build()
        if crop is not None:
            images = torch.zeros(1, 3, crop, crop)
            value = _total(loss(images, images))
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).rstrip('.') or type(error).__name__
        raise InputError(reason, where=one.where, do=do) from error
    if crop is not None and value.numel() != 1:
        raise InputError(f'the loss gives {value.numel()} values', where=one.where, do='Use a loss that gives one')
