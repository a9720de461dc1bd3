"""The exceptions that stand for a user's mistake, and for a run that cannot or shall not go on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike
from typing import Any

__all__ = ['InputError', 'RunError', 'Stopped', 'nearest', 'suggestion']


class InputError(ValueError):
    """Something the user gave cannot be used.

    A tool prints it as one line and ends with exit code 2 (see :mod:`mea_plugin.core.cli`), so the text says what is
    wrong, where, and what to do.

    Args:
        what: What is wrong, with the value that was received. No full stop.
        where: The file, folder or option (``train.optim_g.type``) it was found in.
        do: What to do about it, as an instruction. No full stop.

    Attributes:
        what: As given.
        where: As given, as text; empty if nothing was given.
        do: As given; empty if nothing was given.

    Example:
        >>> error = InputError('rho is -1', where='run.yml: train.optim_g', do='Give 0 or more')
        >>> str(error)
        'run.yml: train.optim_g: rho is -1. Give 0 or more.'
        >>> error.where
        'run.yml: train.optim_g'
    """

    def __init__(self, what: str, *, where: str | PathLike[str] = '', do: str = '') -> None:
        head = f'{where}: {what}' if str(where) else what
        text = f'{head}. {do}.' if do else f'{head.rstrip(".")}.'
        super().__init__(' '.join(text.split()))
        self.what, self.where, self.do = what, str(where), do

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.what, self.where, self.do)


def _restore(cls: type[InputError], what: str, where: str, do: str) -> InputError:
    """An error that comes back from another process, with its fields."""
    return cls(what, where=where, do=do)


class RunError(RuntimeError):
    """A run cannot go on, for a reason that is neither a mistake in its options nor a bug: another machine has gone.

    A tool prints it as one line and ends with exit code 1.
    """


class Stopped(KeyboardInterrupt):
    """A run was asked to stop by a signal, and has put its state away.

    Args:
        text: What was put away and how to go on; a tool prints it.
        signal: The signal's number; a tool ends with the exit code that a shell gives to it, 128 more.
    """

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like ``name``, or None when nothing comes near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """An instruction that names the nearest known name, or lists the known ones when nothing comes near."""
    known = sorted(known)
    match = nearest(name, known)
    return f"Use '{match}'" if match else f'Known: {", ".join(known) or "none"}'
