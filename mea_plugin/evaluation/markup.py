"""Tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import takewhile

from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = ['to_csv', 'to_latex', 'to_markdown']

_LATEX = {
    '\\': r'\textbackslash{}',
    **{character: f'\\{character}' for character in '&%$#_{}'},
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '"': r'\textquotedbl{}',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
    '±': r'$\pm$',
}


def to_markdown(table: Table, *, width: int | None = None) -> str:
    """A table that also reads well in a terminal: title and setting, padded columns, notes, legend.

    Args:
        table: Which.
        width: Characters of a line. A table that is wider is shown without its details; if that is not enough, as
            several that have the columns of names in common.
    """
    title = f'**{_plain(table.title)}**'
    if table.setting:
        title = f'**{_plain(table.title)}.** {_plain(table.setting)}'
    columns = [
        [_plain(column.title), *(_markdown_cell(row[index]) for row in table.rows)]
        for index, column in enumerate(table.header)
    ]
    grids = [_grid(table.header, columns, shown) for shown in _split(table.header, columns, width)]
    return '\n\n'.join([title, *grids, *map(_plain, (*table.notes, *table.legend))]) + '\n'


def to_latex(table: Table) -> str:
    r"""A ``table`` environment with the rules of booktabs; names and notes are escaped.

    The document needs ``\usepackage{booktabs}``. Intervals are small beside their numbers.
    """
    columns = ''.join('r' if column.is_number else 'l' for column in table.header)
    lines = [
        r'% \usepackage{booktabs}',
        r'\begin{table}',
        r'\centering',
        rf'\caption{{{_latex(table.title)}}}',
        rf'\label{{tab:{re.sub(r"[^A-Za-z0-9]+", "-", table.name).strip("-")}}}',
        rf'\begin{{tabular}}{{{columns}}}',
        r'\toprule',
        _latex_row([_latex(column.title) for column in table.header]),
        r'\midrule',
        *(_latex_row([_latex_cell(cell) for cell in row]) for row in table.rows),
        r'\bottomrule',
        r'\end{tabular}',
    ]
    if remarks := ' '.join(map(_latex, table.remarks)):
        lines += ['', r'\smallskip', rf'\parbox{{\linewidth}}{{\footnotesize {remarks}}}']
    return '\n'.join([*lines, r'\end{table}', ''])


def to_csv(table: Table) -> str:
    """Numbers in full; a column with intervals is followed by its ``NAME_low`` and ``NAME_high``.

    A cell without a number is empty, an infinite one is ``inf``.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    header = []
    for column in table.header:
        header += [column.name, f'{column.name}_low', f'{column.name}_high'] if column.has_interval else [column.name]
    writer.writerow(header)
    for row in table.rows:
        values: list[str] = []
        for column, cell in zip(table.header, row, strict=True):
            if not column.is_number:
                values.append(cell.name or cell.text)
                continue
            values.append(_full(cell.value))
            if column.has_interval:
                values += [_full(cell.low), _full(cell.high)]
        writer.writerow(values)
    return file.getvalue()


def _split(header: Sequence[Column], columns: Sequence[Sequence[str]], width: int | None) -> list[list[int]]:
    """The columns of each table that is shown, by their places."""
    every = list(range(len(header)))
    if width is None or _width(columns, every) <= width:
        return [every]
    names = list(takewhile(lambda index: not header[index].is_number, every))
    shown: list[list[int]] = []
    for index in every[len(names) :]:
        if header[index].is_detail:
            continue
        if not shown or _width(columns, [*shown[-1], index]) > width:
            shown.append(list(names))
        shown[-1].append(index)
    return shown or [every]


def _width(columns: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    return 1 + sum(3 + _column_width(columns[index]) for index in shown)


def _column_width(column: Sequence[str]) -> int:
    return max(3, *map(len, column))


def _grid(header: Sequence[Column], columns: Sequence[Sequence[str]], shown: Sequence[int]) -> str:
    padded = []
    for index in shown:
        (title, *cells), width, is_number = columns[index], _column_width(columns[index]), header[index].is_number
        ruler = '-' * (width - 1) + ':' if is_number else '-' * width
        padded.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in (title, ruler, *cells)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in zip(*padded, strict=True))


def _markdown_cell(cell: Cell) -> str:
    number = _plain(cell.number)
    number = f'**{number}**' if cell.is_best else number
    return f'{number} {cell.interval}'.rstrip()


def _plain(text: str) -> str:
    return ' '.join(text.replace('|', '\\|').split())


def _latex_row(cells: Sequence[str]) -> str:
    row = ' & '.join(cells)
    # What follows a line's end in brackets, or a star, would belong to it.
    return ('{}' if row[:1] in ('[', '*') else '') + row + r' \\'


def _latex_cell(cell: Cell) -> str:
    number = _latex(cell.number)
    number = rf'\textbf{{{number}}}' if cell.is_best else number
    return rf'{number} {{\scriptsize {cell.interval}}}' if cell.interval else number


def _latex(text: str) -> str:
    return ''.join(_LATEX.get(character, character) for character in ' '.join(text.split()))


def _full(value: float | None) -> str:
    return '' if value is None else repr(value)
