"""The option file of a query run: a victim, some images, a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, check_section, require

__all__ = ['QueryOptions', 'check_name', 'section']

_NAME_CHARACTERS = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-')
_NUMBERS = ('budget', 'shrink', 'batch_size')
_QUERIES = (*_NUMBERS, 'in_doubt', 'cost_per_query')
_IN_DOUBT = ('abandon', 'resend')


@dataclass(frozen=True)
class QueryOptions:
    """What to ask whom.

    Attributes:
        name: Of the run; a folder name.
        output: The folder of everything that is written; the query set is its sub-folder ``queries``.
        victim: Options for :func:`~mea_plugin.victims.build_victim`.
        images: One or several sources; see :func:`~mea_plugin.data.sources.image_references`.
        settings: ``budget``, ``shrink``, ``batch_size``, ``in_doubt`` for
            :func:`~mea_plugin.query.engine.run_queries`, those that are given.
        cost_per_query: What a charge costs, in whatever currency.
    """

    name: str
    output: Path
    victim: dict[str, Any]
    images: str | list[str]
    settings: dict[str, Any]
    cost_per_query: float = 0.0

    def noted(self) -> dict[str, Any]:
        """What the manifest of the query set keeps of the option file."""
        queries = {'images': self.images, **self.settings, 'cost_per_query': self.cost_per_query}
        return {'victim': self.victim, 'queries': queries}

    @classmethod
    def parse(cls, options: Mapping[str, Any], where: str, output: str | Path | None = None) -> QueryOptions:
        """Check the sections that a query run needs; an extraction's option file has them too.

        Args:
            options: The option file's content.
            where: The file, for errors.
            output: Instead of the folder that the file names.

        Raises:
            InputError: A section or option is missing, unknown or of the wrong kind.
        """
        name = check_name(require(options, 'name', where), f'{where}: name')
        victim = dict(section(options, 'victim', where))
        queries = section(options, 'queries', where)
        at = f'{where}: queries'
        check_keys(queries, ('images', *_QUERIES), at)
        settings = {key: queries[key] for key in (*_NUMBERS, 'in_doubt') if queries.get(key) is not None}
        for key in _NUMBERS:
            value = settings.get(key, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f'{key} is {value!r}', where=at, do='Give a whole number, 1 or more')
        if settings.get('in_doubt', 'abandon') not in _IN_DOUBT:
            raise InputError(
                f'in_doubt is {settings["in_doubt"]!r}', where=at, do=suggestion(str(settings['in_doubt']), _IN_DOUBT)
            )
        cost = queries.get('cost_per_query') or 0
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < float('inf'):
            raise InputError(f'cost_per_query is {cost!r}', where=at, do='Give a number, 0 or more')
        given = output or options.get('output') or Path('results') / name
        if not isinstance(given, str | Path):
            raise InputError(f'output is {given!r}', where=where, do='Give a folder')
        folder = Path(given)
        return cls(name, folder, victim, _sources(require(queries, 'images', at), at), settings, float(cost))


def _sources(images: Any, where: str) -> str | list[str]:
    if isinstance(images, list) and images and all(isinstance(one, str) for one in images):
        return images
    if isinstance(images, list | dict | bool):
        raise InputError(f'images is {images!r}', where=where, do='Give a folder, a glob, an LMDB, or a list of these')
    return str(images)


def section(options: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """A section that must be there and hold something."""
    value = check_section(require(options, key, where), f'{where}: {key}')
    if not value:
        raise InputError('the section is empty', where=f'{where}: {key}', do=f'Fill in {key}')
    return value


def check_name(name: Any, where: str) -> str:
    """A name that can be a folder's."""
    if isinstance(name, bool) or not str(name).strip('.') or not set(str(name)) <= _NAME_CHARACTERS:
        raise InputError(f"'{name}' is no folder name", where=where, do='Use letters, digits, . _ -')
    return str(name)
