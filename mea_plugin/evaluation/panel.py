"""The side-by-side picture: ground truth, every answer, and where each differs from the victim."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mea_plugin.evaluation.crops import CONTEXT_SIDE, PanelRow
from mea_plugin.evaluation.results import Protocol

__all__ = ['draw_panel']

CELL = 240
GAP = 12
MARGIN = 20
HEADER = 44
LABEL = 32
ROW_GAP = 24
CAPTION_LINE = 28

ROW = CONTEXT_SIDE + LABEL
"""Height of a row; its two lines of cells, each with a label, are as high as the overview with its label."""

INK, MUTED, PAPER, ACCENT = '#1a1a1a', '#5a5a5a', '#ffffff', '#ffd23f'

# Dark to light in even steps of lightness, so that it also reads in grey print.
_HEAT = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]])
_SPANS = (4, 8, 16, 32, 64, 128, 255)


def draw_panel(rows: Sequence[PanelRow], models: Sequence[str], victim: str | None, protocol: Protocol) -> np.ndarray:
    """Draw the picture.

    One row per image: the overview with the region marked; the region in the ground truth and in every answer, pixels
    enlarged as squares; below, the query and the difference of each answer to the victim's (without a victim, to the
    ground truth), all on one colour scale.

    Args:
        rows: What to show, at least one row.
        models: The columns, in order.
        victim: The victim's name among them; None where there is no victim.
        protocol: For the caption.

    Returns:
        uint8 array ``(H, W, 3)``, RGB.
    """
    span = _span(rows)
    columns = 1 + len(models) + (victim is None)  # the colour scale's
    width = 2 * MARGIN + CONTEXT_SIDE + columns * (CELL + GAP)
    caption = _wrap(_caption(protocol), _font(19), width - 2 * MARGIN)
    height = 2 * MARGIN + HEADER + len(rows) * (ROW + ROW_GAP) - ROW_GAP + 8 + CAPTION_LINE * len(caption)
    image = Image.new('RGB', (width, height), PAPER)
    canvas = ImageDraw.Draw(image)
    first = 'ground truth' if any(row.truth is not None for row in rows) else 'query'
    for column, title in enumerate([first, *models]):
        _text(canvas, _column(column) + CELL // 2, MARGIN + HEADER // 2, title, 24, INK, CELL)
    for index, row in enumerate(rows):
        _draw_row(image, row, models, victim, MARGIN + HEADER + index * (ROW + ROW_GAP), span)
    for number, line in enumerate(caption):
        y = height - MARGIN - CAPTION_LINE * (len(caption) - number)
        canvas.text((MARGIN, y + 6), line, font=_font(19), fill=MUTED)
    return np.asarray(image)


def _draw_row(
    image: Image.Image, row: PanelRow, models: Sequence[str], victim: str | None, top: int, span: int
) -> None:
    canvas = ImageDraw.Draw(image)
    _draw_overview(image, row, top)
    x, below = _column(0), top + CELL + LABEL
    query_label = 'query, {} x {}'.format(*row.sizes[1])
    if row.truth is None:
        _cell(image, x, top, row.query, query_label)
    else:
        _cell(image, x, top, row.truth, '{} x {}'.format(*row.sizes[0]))
        _cell(image, x, below, row.query, query_label)
    for column, name in enumerate(models, start=1):
        x = _column(column)
        label = f'{_db(row.to_truth[name])} to truth' if name in row.to_truth else ''
        _cell(image, x, top, row.answers[name], label)
        if name == victim:
            _draw_scale(canvas, x, below, span, 'victim')
        elif name in row.errors:
            label = f'{_db(row.to_victim[name])} to victim' if name in row.to_victim else ''
            _cell(image, x, below, _heat(row.errors[name], span), label)
    if victim is None and row.errors:
        _draw_scale(canvas, _column(len(models) + 1), below, span, 'truth')


def _draw_overview(image: Image.Image, row: PanelRow, top: int) -> None:
    image.paste(Image.fromarray(row.context), (MARGIN, top))
    left, upper, side = row.box
    canvas = ImageDraw.Draw(image)
    x, y = MARGIN + left, top + upper
    canvas.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=INK, width=7)
    canvas.rectangle((x, y, x + side - 1, y + side - 1), outline=ACCENT, width=3)
    _text(canvas, MARGIN + CONTEXT_SIDE // 2, top + CONTEXT_SIDE + LABEL // 2, row.title, 20, INK, CONTEXT_SIDE)


def _draw_scale(canvas: ImageDraw.ImageDraw, x: int, y: int, span: int, reference: str) -> None:
    """The colour scale of the differences, in the cell under the victim: its difference to itself is nothing."""
    middle, width = y + CELL // 2, CELL - 40
    for number, line in enumerate(('difference', f'to {reference}')):
        _text(canvas, x + CELL // 2, middle - 68 + 26 * number, line, 20, INK, CELL)
    colours = _heat(np.linspace(0, span, width)[None], span)[0]
    for offset, colour in enumerate(colours):
        canvas.line((x + 20 + offset, middle - 16, x + 20 + offset, middle + 8), fill=tuple(int(c) for c in colour))
    for share in (0, 0.5, 1):
        _text(canvas, x + 20 + round(share * (width - 1)), middle + 24, f'{share * span:g}', 18, INK, CELL)
    _text(canvas, x + CELL // 2, middle + 52, 'grey levels', 18, MUTED, CELL)


def _cell(image: Image.Image, x: int, y: int, crop: np.ndarray, label: str) -> None:
    """A crop, its pixels enlarged by a whole number, in the middle of its cell, and a label below."""
    zoom = max(1, CELL // max(crop.shape[:2]))
    enlarged = Image.fromarray(crop.repeat(zoom, axis=0).repeat(zoom, axis=1))
    image.paste(enlarged, (x + (CELL - enlarged.width) // 2, y + (CELL - enlarged.height) // 2))
    _text(ImageDraw.Draw(image), x + CELL // 2, y + CELL + LABEL // 2, label, 20, INK, CELL)


def _column(index: int) -> int:
    return MARGIN + CONTEXT_SIDE + GAP + index * (CELL + GAP)


def _caption(protocol: Protocol) -> str:
    crop = f', {protocol.border} pixels cropped at each edge' if protocol.border else ''
    return (
        f'PSNR on Y of the whole image{crop}. Difference: mean absolute difference over R, G and B. '
        'The marked region is the one with the largest mean gradient.'
    )


def _span(rows: Sequence[PanelRow]) -> int:
    """The end of the one colour scale: nearly all differences lie below it."""
    errors = [error.ravel() for row in rows for error in row.errors.values()]
    high = float(np.percentile(np.concatenate(errors), 99)) if errors else 0.0
    return next(span for span in _SPANS if high <= span)


def _heat(error: np.ndarray, span: int) -> np.ndarray:
    """Colours of differences in [0, span]: uint8 ``(H, W, 3)``."""
    steps = np.linspace(0, span, len(_HEAT))
    return np.stack([np.interp(error, steps, _HEAT[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def _db(value: float) -> str:
    return f'{value:.2f} dB' if math.isfinite(value) else 'identical'


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(canvas: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int, colour: str, room: int) -> None:
    """Text around a point; smaller, then cut, where it does not fit."""
    while size > 14 and _font(size).getlength(text) > room:
        size -= 1
    font = _font(size)
    if font.getlength(text) > room:
        while text and font.getlength(f'{text}...') > room:
            text = text[:-1]
        text = f'{text}...'
    canvas.text((x, y), text, font=font, fill=colour, anchor='mm')


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> list[str]:
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
