"""Option files: YAML that only ever becomes plain values, files based on others, and keys that are checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mea_plugin.core.errors import InputError, line_of, shortened, suggestion
from mea_plugin.core.files import read_bytes
from mea_plugin.core.folders import inside
from mea_plugin.core.paths import expanded
from mea_plugin.core.yaml_values import dump_yaml, parse_yaml

__all__ = [
    'apply_overrides',
    'check_keys',
    'check_number',
    'check_section',
    'dump_options',
    'load_options',
    'merge',
    'require',
]

_BASE, _DELETE = '_base_', '_delete_'  # MMEngine's names

MOST_BYTES = 4 << 20
"""Of an option file and all that it is based on."""

_MOST_FILES = 100  # that one is based on
_LONGEST_NAME = 400  # characters of a path in an error
_LONGEST_PROBLEM = 200
_LONGEST_KEY = 80


def load_options(path: str | Path, *, within: Path | None = None) -> dict[str, Any]:
    """Read an option file, and the files that it is based on, without running anything in them.

    ``_base_: FILE`` or ``_base_: [FILE, ...]`` names files, relative to the one it stands in, that are read first. A
    later one is laid over an earlier one, and the file itself over all of them, section by section, as in MMEngine;
    lists are replaced whole. ``_delete_: true`` in a section replaces the section that it meets.

    What a file can cost is bounded: all files together have :data:`MOST_BYTES` at most, and hold, with each alias
    written out, as many values as :mod:`mea_plugin.core.yaml_values` allows.

    Args:
        path: A YAML file holding a mapping.
        within: The folder that the file and all that it is based on must lie in, where they are not the user's own.

    Returns:
        Dicts, lists, strings, numbers, booleans and None only; no ``_base_``.

    Raises:
        OutsideError: A file lies outside of ``within``.
        InputError: The file, or one that it is based on, is missing, is not YAML, names a Python object
            (``!!python/...``), is no mapping, is based on itself, is too large, or puts a section where another has a
            value.
    """
    return _Reader(within).load(Path(path), ())


class _Reader:
    """Reads one option file and those that it is based on, with one allowance for all of them."""

    def __init__(self, within: Path | None) -> None:
        self._within = None if within is None else within.resolve()
        self._bytes, self._files = MOST_BYTES, _MOST_FILES

    def load(self, path: Path, derived: tuple[Path, ...]) -> dict[str, Any]:
        """Read a file and its bases; ``derived`` are the files that led here."""
        options = self._read(path)
        names = options.pop(_BASE, [])
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f'{_BASE} is {shortened(names)}', where=path, do='Give a file, or a list of files')
        if not names:
            return options
        derived = (*derived, path.resolve())
        merged: dict[str, Any] = {}
        for name in names:
            base, where = self._base(path, name), f'{path}: {_BASE}'
            if base.resolve() in derived:
                raise InputError(
                    f'the file is based on itself, by {line_of(name, _LONGEST_NAME)}', where=where, do='Remove that'
                )
            if not _is_file(base):
                do = 'Give paths relative to the file that names them'
                raise InputError(f'there is no file {line_of(str(base), _LONGEST_NAME)}', where=where, do=do)
            merged = _inherit(merged, self.load(base, derived), str(base))
        return _inherit(merged, options, str(path))

    def _base(self, path: Path, name: str) -> Path:
        if self._within is None:
            try:
                return path.parent / expanded(name)
            except RuntimeError:  # there is no such user
                return path.parent / name
        return inside(self._within, path.parent / name, where=f'{path}: {_BASE}', do='Keep both in one folder')

    def _read(self, path: Path) -> dict[str, Any]:
        if self._within is not None:
            path = inside(self._within, path, where=path, do='Keep all files in one folder')
        self._files -= 1
        if self._files < 0:
            raise InputError(f'is based on more than {_MOST_FILES} files', where=path, do='Put them together')
        try:
            content = read_bytes(path, self._bytes)
        except OSError as error:
            what = f'the option file cannot be read ({error.strerror})'
            raise InputError(what, where=path, do='Check the path') from None
        self._bytes -= len(content)
        try:
            options = parse_yaml(content.decode('utf-8'))
        except UnicodeDecodeError:
            what = 'the option file cannot be read (not UTF-8 text)'
            raise InputError(what, where=path, do='Check the path') from None
        except (yaml.YAMLError, RecursionError) as error:  # the latter: endless nesting
            mark = getattr(error, 'problem_mark', None)
            line = f':{mark.line + 1}' if mark else ''
            problem = line_of(getattr(error, 'problem', None) or 'not YAML', _LONGEST_PROBLEM)
            raise InputError(
                f'not a valid option file ({problem})', where=f'{path}{line}', do='Correct that line'
            ) from None
        if not isinstance(options, dict):
            do = 'Write key: value pairs, as in the files under options/'
            raise InputError('holds no options', where=path, do=do)
        return options


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _inherit(base: dict[str, Any], options: Mapping[str, Any], where: str, section: str = '') -> dict[str, Any]:
    """A copy of ``base`` with ``options`` laid over it; another ``type`` does not matter, unlike in :func:`merge`."""
    merged = dict(base)
    for key, value in options.items():
        old, name = base.get(key), f'{section}{key}'
        if isinstance(value, Mapping) and key in base:
            value, replaces = _without_delete(value, f'{where}: {name}')
            if isinstance(old, Mapping) and not replaces:
                value = _inherit(dict(old), value, where, f'{name}.')
            elif not (replaces or _is_switch(old)):
                what = f'the section meets {shortened(old)} in a file that this one is based on'
                raise InputError(what, where=f'{where}: {name}', do=f'Add {_DELETE}: true to replace that')
        elif isinstance(old, Mapping) and not _is_switch(value):
            what = f'{shortened(value)} meets a section in a file that this one is based on'
            raise InputError(what, where=f'{where}: {name}', do='Write key: value lines, or ~ to leave the section out')
        merged[key] = value
    return merged


def _without_delete(section: Mapping[str, Any], where: str) -> tuple[dict[str, Any], bool]:
    """The section without ``_delete_``, and what that says."""
    rest = dict(section)
    replaces = rest.pop(_DELETE, False)
    if not isinstance(replaces, bool):
        raise InputError(f'{_DELETE} is {shortened(replaces)}', where=where, do='Write true or false')
    return rest, replaces


def _is_switch(value: Any) -> bool:
    """Whether a value may stand for a section: ``~`` and ``false`` for one that is off, ``true`` for one as it is."""
    return value is None or isinstance(value, bool)


def dump_options(options: Mapping[str, Any]) -> str:
    """The options as the text of an option file: :func:`load_options` reads the same values from it.

    Args:
        options: What :func:`load_options` gave, changed or not: plain values only.
    """
    return dump_yaml(options)


def check_section(value: Any, where: str, *, do: str = 'Write key: value lines below it') -> Mapping[str, Any]:
    """The value, when it is a section of an option file.

    Args:
        value: What stands in the file.
        where: The file and section, for the error.
        do: What to do instead, for the error.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise InputError(f'expected a section, got {shortened(value)}', where=where, do=do)
    return value


def check_keys(options: Any, known: Iterable[str], where: str) -> None:
    """Refuse a section that is no mapping or has a key nobody reads, naming the nearest key that somebody does."""
    known = list(known)
    for key in check_section(options, where, do=f'Keys: {", ".join(known)}'):
        if key == _DELETE:
            raise InputError(f'{_DELETE} meets no section that it could replace', where=where, do='Remove it')
        if key not in known:
            raise InputError(
                f"unknown option '{line_of(str(key), _LONGEST_KEY)}'", where=where, do=suggestion(str(key), known)
            )


def require(options: Mapping[str, Any], key: str, where: str) -> Any:
    """The value of a key that must be there.

    Raises:
        InputError: It is not.
    """
    if options.get(key) is None:
        raise InputError(f"the option '{key}' is missing", where=where, do=f'Add {key}')
    return options[key]


def check_number(
    options: Mapping[str, Any],
    key: str,
    where: str,
    *,
    least: float = 0,
    most: float = math.inf,
    whole: bool = True,
    optional: bool = False,
) -> None:
    """Refuse an option that is no number of a range. A whole one may be written ``5e3``, which YAML reads as a float.

    Args:
        options: The section.
        key: The option.
        where: The file and section, for the error.
        least: The smallest that may be.
        most: The largest that may be.
        whole: Whether it must be a whole one.
        optional: Whether it may be missing.

    Raises:
        InputError: It is something else, or missing.
    """
    if optional and options.get(key) is None:
        return
    value = require(options, key, where)
    number = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if not number or not least <= value <= most or (whole and value % 1):
        kind = 'a whole number' if whole else 'a number'
        span = f'of at least {least}' if most == math.inf else f'from {least} to {most}'
        raise InputError(f'{key} is {shortened(value)}', where=where, do=f'Give {kind} {span}')


def _is_finite(value: float) -> bool:
    """Also of whole numbers that are too large for a float, which are not."""
    return abs(value) <= sys.float_info.max


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` with ``override`` laid over it, section by section.

    A section that names another ``type`` replaces the old one whole: the arguments of one optimizer are not those of
    another. One with ``_delete_: true`` does so, too.
    """
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _DELETE in value:
            value, replaces = _without_delete(value, key)
            old = None if replaces else old
        merged[key] = value
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get('type', old.get('type')) == old.get('type')
        ):
            merged[key] = merge(old, value)
    return merged


def apply_overrides(options: dict[str, Any], entries: Iterable[str]) -> None:
    """Set values in place from ``section:key=value`` entries, as BasicSR's ``--force_yml`` does, without ``eval``.

    Args:
        options: The options to change.
        entries: Each names an existing section by its path; the value is read as YAML.

    Raises:
        InputError: An entry has no ``=``, names a section that is not there, or its value is not YAML.
    """
    for entry in entries:
        path, equals, text = entry.partition('=')
        *sections, key = path.strip().split(':')
        if not equals or not key:
            raise InputError(f'{shortened(entry)} is no override', where='--force_yml', do='Write section:key=value')
        target: Any = options
        for section in sections:
            if not isinstance(target, dict) or not isinstance(target.get(section), dict):
                known = target if isinstance(target, dict) else []
                raise InputError(
                    f'no section {shortened(section)} for {shortened(entry)}',
                    where='--force_yml',
                    do=suggestion(section, known),
                )
            target = target[section]
        try:
            target[key] = parse_yaml(text)
        except (yaml.YAMLError, RecursionError):
            raise InputError(
                f'{shortened(text)} is not a value', where='--force_yml', do='Quote it as in YAML'
            ) from None
