"""Tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from mea_plugin.report.table import Cell, Table

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


def to_markdown(table: Table) -> str:
    """A table that also reads well in a terminal: title, padded columns, notes."""
    header = [_plain(column.title) for column in table.header]
    lines = [header, *([_markdown_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(header))]
    ruler = [
        '-' * (width - 1) + ':' if column.is_number else '-' * width
        for column, width in zip(table.header, widths, strict=True)
    ]
    text = []
    for line in (lines[0], ruler, *lines[1:]):
        cells = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(line, widths, table.header, strict=True)
        ]
        text.append(f'| {" | ".join(cells)} |')
    return '\n\n'.join([f'**{_plain(table.title)}**', '\n'.join(text), *map(_plain, table.notes)]) + '\n'


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
    if table.notes:
        lines += ['', r'\smallskip', rf'\parbox{{\linewidth}}{{\footnotesize {" ".join(map(_latex, table.notes))}}}']
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
