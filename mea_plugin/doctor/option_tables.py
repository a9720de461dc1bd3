"""Tables of options for the docs, generated from the models that check the options.

A page marks the place of a table::

    <!-- options: serve limits -->
    <!-- end of options -->

``python -m mea_plugin.doctor.option_tables docs/*.md`` writes what belongs between the two lines; with ``--check`` it
changes nothing and ends with exit code 1 if a table is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError, RunError
from mea_plugin.core.files import write_text
from mea_plugin.doctor.option_files import schema_of

__all__ = ['option_table', 'updated']

_BEGIN, _END = '<!-- options: {} -->', '<!-- end of options -->'
_MARK = r'(?P<kind>\S+)(?: (?P<section>\S+))?'
_PLACE = re.compile(f'{_BEGIN.format(_MARK)}\n.*?{_END}', re.DOTALL)
_HEAD = '| option | value | default | meaning |\n|---|---|---|---|\n'

Schema = Mapping[str, Any]


def option_table(schema: Schema, section: str = '') -> str:
    """The options of a section as a Markdown table.

    Args:
        schema: A JSON schema, as :meth:`pydantic.BaseModel.model_json_schema` gives it.
        section: The section within it, with dots: ``evaluation.panel``; empty for the whole file.

    Raises:
        InputError: There is no such section.
    """
    root, part = schema, schema
    for name in section.split('.') if section else ():
        properties = _properties(part, root)
        if name not in properties:
            raise InputError(f"no section '{name}'", where=section, do=f'Known: {", ".join(properties)}')
        part = _section(properties[name], root) or {}
    return _HEAD + ''.join(f'| {" | ".join(row)} |\n' for row in _rows(part, root, ''))


def _rows(schema: Schema, root: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, values, default and meaning of every option, those of sections below the section's own."""
    required = schema.get('required', ())
    for name, one in _properties(schema, root).items():
        inner = _section(one, root)
        text = one.get('description') or (inner or {}).get('description', '')  # pydantic writes it once
        meaning = ' '.join(str(text).replace('``', '`').split()).replace('|', '\\|')
        default = 'required' if name in required else '' if inner else _default(one)
        yield f'`{prefix}{name}`', 'section' if inner else _values(one, root), default, meaning
        if inner:
            yield from _rows(inner, root, f'{prefix}{name}{_step(one, root)}.')


def _properties(schema: Schema, root: Schema) -> dict[str, Schema]:
    return dict(_resolved(schema, root).get('properties', {}))


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get('$ref')
    return root['$defs'][reference.rpartition('/')[2]] if reference else schema


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """What a value may be, without nothing."""
    found = [_resolved(one, root) for one in schema.get('anyOf', [schema])]
    return [one for one in found if one.get('type') != 'null']


def _section(schema: Schema, root: Schema) -> Schema | None:
    """The section that an option, an entry of a list or a named entry consists of, if it is one of ours."""
    for one in _alternatives(schema, root):
        if 'properties' in one:
            return one
        for key in ('items', 'additionalProperties'):
            inner = one.get(key)
            if isinstance(inner, Mapping) and (found := _section(inner, root)):
                return found
    return None


def _step(schema: Schema, root: Schema) -> str:
    """How an entry of a section is named: nothing for a section itself, ``[]`` in a list, ``.NAME`` by a name."""
    first = next(one for one in _alternatives(schema, root) if _section(one, root))
    return '' if 'properties' in first else '[]' if 'items' in first else '.NAME'


def _values(schema: Schema, root: Schema) -> str:
    return ' or '.join(dict.fromkeys(_value(one, root) for one in _alternatives(schema, root)))


def _value(one: Schema, root: Schema) -> str:
    if 'enum' in one or 'const' in one:
        return ', '.join(f'`{value}`' for value in one.get('enum', [one.get('const')]))
    if 'oneOf' in one:
        return 'section with `type`'
    kind = one.get('type')
    if kind == 'array':
        entries = one.get('items') or {}
        return f'list: {_values(entries, root)}' if entries else 'list'
    words = {'integer': 'whole number', 'number': 'number', 'boolean': '`true`, `false`', 'object': 'section'}
    if kind == 'string':
        return 'path' if one.get('format') == 'path' else 'text'
    return f'{words.get(str(kind), "any")}{_range(one)}'


def _range(one: Schema) -> str:
    least, above, most = (one.get(key) for key in ('minimum', 'exclusiveMinimum', 'maximum'))
    limits = (('at least', least), ('above', above), ('at most', most))
    return ''.join(f', {words} {limit}' for words, limit in limits if limit is not None)


def _default(schema: Schema) -> str:
    value = schema.get('default')
    return '' if value is None or value in ({}, []) else f'`{json.dumps(value).strip(chr(34))}`'


def updated(text: str, schema: Callable[[str], Schema] = schema_of) -> str:
    """A page with its tables generated again.

    Args:
        text: The page.
        schema: Gives the JSON schema of a kind of option file.

    Raises:
        InputError: A marker names no kind of option file, or no section of it.
    """

    def _table(place: re.Match[str]) -> str:
        kind, section = place['kind'], place['section'] or ''
        return f'{_BEGIN.format(f"{kind} {section}".strip())}\n{option_table(schema(kind), section)}{_END}'

    return _PLACE.sub(_table, text)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables into pages, or check them."""
    parser = ToolParser(prog='python -m mea_plugin.doctor.option_tables', description='Option tables of the docs.')
    parser.add_argument('pages', nargs='+', type=Path, metavar='PAGE', help='Markdown files')
    parser.add_argument('--check', action='store_true', help='change nothing; exit code 1 if a table is out of date')
    args = parser.parse_args(argv)
    stale = []
    for page in args.pages:
        text = page.read_text(encoding='utf-8')
        new = updated(text)
        if new != text and not args.check:
            write_text(page, new)
        if new != text:
            stale.append(str(page))
    if stale and args.check:
        raise RunError(f'{", ".join(stale)}: tables of options are out of date; type: make docs-tables')


if __name__ == '__main__':
    sys.exit(run_tool(main))
