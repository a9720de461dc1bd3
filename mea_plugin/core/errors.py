"""The exceptions that stand for a user's mistake, and for a run that cannot or shall not go on."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from os import PathLike
from typing import Any

__all__ = ['InputError', 'RunError', 'Stopped', 'line_of', 'nearest', 'shortened', 'suggestion']

_LONGEST = 1000  # characters of a part of an error: texts of ours are shorter, what they quote need not be
_LONGEST_WHAT = 600
_COMPARED = 200  # characters of an unknown name that are compared with the known ones
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 6
_SHORT.maxlong = 40


def shortened(value: Any) -> str:
    """The value as an error quotes it: its ``repr``, cut where it is long."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a whole number of more digits than Python converts
        return f'a {type(value).__name__}'


def line_of(text: str, longest: int = _LONGEST) -> str:
    """The text as one line for a terminal: the middle of a long one is cut out, control characters are escaped.

    Args:
        text: Any text, also one that files of other people are quoted in.
        longest: How many characters it may have, about.
    """
    if len(text) > longest:
        text = f'{text[: longest // 2]} ... {text[-(longest // 2) :]}'
    text = ' '.join(text.split())
    return text if text.isprintable() else ''.join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode('ascii', 'backslashreplace').decode() if ord(character) > 127 else repr(character)[1:-1]


class InputError(ValueError):
    """Something the user gave cannot be used.

    A tool prints it as one line and ends with exit code 2 (see :mod:`mea_plugin.core.cli`), so the text says what is
    wrong, where, and what to do. What is long in it is cut, and control characters are escaped: files of other people
    are quoted here.

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
        parts = [line_of(str(where)), line_of(what, _LONGEST_WHAT), line_of(do)]
        head = f'{parts[0]}: {parts[1]}' if parts[0] else parts[1]
        super().__init__(f'{head}. {parts[2]}.' if parts[2] else f'{head.rstrip(".")}.')
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
    matches = difflib.get_close_matches(name[:_COMPARED], list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """An instruction that names the nearest known name, or lists the known ones when nothing comes near."""
    known = sorted(known)
    match = nearest(name, known)
    return f"Use '{match}'" if match else f'Known: {", ".join(known) or "none"}'
