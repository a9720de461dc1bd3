"""A whole report: read the results, draw, embed the images, write the page and, where asked for, figures and tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes, write_text
from mea_plugin.core.paths import expanded
from mea_plugin.evaluation.tables import all_tables, to_csv, to_latex, to_markdown
from mea_plugin.report.defaults import IMAGES, PRICE
from mea_plugin.report.drawings import Drawing, draw, draw_sets, file_name
from mea_plugin.report.figures import save
from mea_plugin.report.images import embed, list_pictures
from mea_plugin.report.minima import minima_table
from mea_plugin.report.page import check_libraries, count_images, render
from mea_plugin.report.prices import budget_curves, price_tables
from mea_plugin.report.sources import Results, read_results
from mea_plugin.report.spectra import Spectra

__all__ = ['LARGE', 'Report', 'make_report']

LARGE = 100 * 1000**2
"""Bytes from which on a page is slow to open and to send."""


_LONGEST = 200  # bytes of a file's name, without its ending


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: The HTML file.
        size: Its bytes.
        shown: How many images are in it.
        total: How many the test sets hold.
        files: Figures and tables beside it.
    """

    page: Path
    size: int
    shown: int
    total: int
    files: list[Path]


def make_report(
    paths: Sequence[str | Path],
    output: str | Path = 'report.html',
    *,
    figures: str | Path | None = None,
    images: int = IMAGES,
    title: str | None = None,
    command: Sequence[str] = (),
    price: float = PRICE,
) -> Report:
    """Make one self-contained HTML file out of results.

    Args:
        paths: Folders of evaluations, extractions and flatness measurements; see
            :func:`~mea_plugin.report.sources.read_results`.
        output: The file.
        figures: A folder for the figures as PNG and PDF and the tables as Markdown, LaTeX and CSV.
        images: At most so many of each test set are embedded, evenly spread.
        title: The heading; without one, the results' names.
        command: What makes this report again, for the page.
        price: Of a query, for what a surrogate costs.

    Raises:
        InputError: A result cannot be read, a picture is missing, the file cannot be written, or a library is missing;
            nothing is written then.
    """
    check_libraries()
    output = _check_output(expanded(output), '--output')
    folder = None if figures is None else _check_folder(expanded(figures), '--figures')
    results = read_results(paths)
    listed = [list_pictures(source, images, index) for index, source in enumerate(results.sources)]
    every = [picture for pictures in listed for picture in pictures]
    spectra = Spectra(every)
    described, blobs = embed(every, spectra.add)
    parts = iter(described)
    pictures = [[next(parts) for _ in chosen] for chosen in listed]
    set_figures, curves = draw_sets(results, spectra), draw(results)
    text = render(
        results,
        blobs=blobs,
        pictures=pictures,
        set_figures=set_figures,
        curves=curves,
        title=title or _title(results),
        command=command,
        price=price,
    )
    data = text.encode(errors='replace')  # half a surrogate pair in a name is no text
    files = []
    if folder:
        drawings = [one for by_set in set_figures for drawn in by_set.values() for one in drawn] + curves
        files = [*_write_figures(drawings, folder), *_write_tables(results, folder, price)]
    write_bytes(output, data)
    shown, total = count_images(results, pictures)
    return Report(output, len(data), shown, total, files)


def _write_figures(drawings: Sequence[Drawing], folder: Path) -> list[Path]:
    names = _different([drawing.name for drawing in drawings])
    return [path for name, one in zip(names, drawings, strict=True) for path in save(one.figure, folder / name)]


def _write_tables(results: Results, folder: Path, price: float) -> list[Path]:
    several = len(results.sources) > 1
    tables, names = [], []
    for source in results.sources:
        for one in all_tables(source.evaluation):
            tables.append(one)
            names.append(file_name(source.name, one.name) if several else one.name)
    for measured in results.flatness:
        tables.append(minima_table(measured))
        names.append(file_name(tables[-1].name))
    for one in price_tables(budget_curves(results.sources), price):
        tables.append(one)
        names.append(file_name(one.name))
    files = []
    for name, one in zip(_different(names), tables, strict=True):
        for suffix, write in (('md', to_markdown), ('tex', to_latex), ('csv', to_csv)):
            files.append(folder / f'{name}.{suffix}')
            write_text(files[-1], write(one))
    return files


def _different(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that are taken; some disks do not tell upper case from lower.

    Of long ones the middle is left out: their ends tell what they are, and disks take 255 bytes.
    """
    taken: set[str] = set()
    found = []
    for name in names:
        if len(data := name.encode()) > _LONGEST:
            name = '-'.join(part.decode(errors='ignore') for part in (data[: _LONGEST - 60], data[-59:]))
        number, free = 1, name
        while free.lower() in taken:
            number += 1
            free = f'{name}-{number}'
        taken.add(free.lower())
        found.append(free)
    return found


def _title(results: Results) -> str:
    names = [source.name for source in results.sources] + [str(one['name']) for one in results.flatness]
    return ', '.join(dict.fromkeys(names))


def _check_output(path: Path, where: str) -> Path:
    """Find out before the work whether the file can be written."""
    if path.is_dir():
        raise InputError(f'{path} is a folder', where=where, do='Give a file, such as report.html')
    _check_folder(path.absolute().parent, where)
    return path


def _check_folder(folder: Path, where: str) -> Path:
    """Find out, without making it, whether files can be written into a folder."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = 'cannot be written' if there.is_dir() else 'is a file'
        raise InputError(f'{there} {reason}', where=where, do='Give another place')
    return folder
