"""A whole report: read the results, draw, embed the images, write the page and, where asked for, figures and tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mea_plugin.errors import InputError
from mea_plugin.files import write_bytes
from mea_plugin.report.images import embed, list_pictures
from mea_plugin.report.page import check_jinja, count_images, render
from mea_plugin.report.sources import Results, read_results

__all__ = ['IMAGES', 'LARGE', 'Report', 'make_report']

IMAGES = 20
"""How many images of each test set are shown when nobody says how many."""

LARGE = 100 * 1000**2
"""Bytes from which on a page is slow to open and to send."""


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

    Raises:
        InputError: A result cannot be read, a picture is missing, the file cannot be written, or a library is missing;
            nothing is written then.
    """
    check_jinja()
    output = _check_output(Path(output).expanduser())
    results = read_results(paths)
    listed = [list_pictures(source, images) for source in results.sources]
    described, blobs = embed([picture for pictures in listed for picture in pictures])
    parts = iter(described)
    pictures = [[next(parts) for _ in listed_pictures] for listed_pictures in listed]
    text = render(
        results,
        blobs=blobs,
        pictures=pictures,
        set_figures=[{} for _ in results.sources],
        curves=[],
        title=title or _title(results),
        command=command,
    )
    data = text.encode(errors='replace')  # half a surrogate pair in a name is no text
    write_bytes(output, data)
    shown, total = count_images(results, pictures)
    return Report(output, len(data), shown, total, [])


def _title(results: Results) -> str:
    names = [source.name for source in results.sources] + [str(one['name']) for one in results.flatness]
    return ', '.join(dict.fromkeys(names))


def _check_output(path: Path) -> Path:
    """Find out before the work whether the file can be written."""
    if path.is_dir():
        raise InputError(f'{path} is a folder', where='--output', do='Give a file, such as report.html')
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = 'cannot be written' if there.is_dir() else 'is a file'
        raise InputError(f'{there} {reason}', where='--output', do='Give another file')
    return path
