"""Markdown tables that also read well in a terminal; each says under which protocol it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mea_plugin.evaluation.metrics import CHANNELS, Score
from mea_plugin.evaluation.results import Comparison, EvaluationResult, Mean, SetResult

__all__ = ['image_tables', 'mean_tables']

_HEADER = [f'{channel.upper()}-{metric}' for channel in CHANNELS for metric in ('PSNR', 'SSIM')]
_KINDS = {
    'fidelity': 'fidelity (how close to the victim)',
    'quality': 'task quality (how close to the ground truth)',
}


def mean_tables(result: EvaluationResult) -> str:
    """Two tables per test set, fidelity and task quality, a row per model.

    Bold marks the best of several surrogates, by what is printed; victim and baselines are not in that contest.
    """
    parts = []
    for test_set in result.sets:
        for kind, comparisons in _comparisons(test_set):
            title = f'**{test_set.name}, {_KINDS[kind]}.** {result.protocol.describe(test_set.count)}'
            parts += [title, _mean_table(comparisons, result.surrogates), *_notes(comparisons)]
    return '\n\n'.join(parts) + '\n'


def image_tables(result: EvaluationResult) -> str:
    """The same per image: a row per image and model."""
    parts = []
    for test_set in result.sets:
        protocol = result.protocol.describe(test_set.count, 'per image')
        for kind, comparisons in _comparisons(test_set):
            rows = [
                [image, model, *_cells([comparison.images[image][channel] for channel in CHANNELS])]
                for image in next(iter(comparisons.values())).images
                for model, comparison in comparisons.items()
            ]
            parts += [f'**{test_set.name}, {_KINDS[kind]}.** {protocol}', _table(['image', 'model', *_HEADER], rows)]
    return '\n\n'.join(parts) + '\n'


def _comparisons(test_set: SetResult) -> list[tuple[str, dict[str, Comparison]]]:
    kinds = [('fidelity', test_set.fidelity), ('quality', test_set.quality)]
    return [(kind, comparisons) for kind, comparisons in kinds if comparisons]


def _mean_table(comparisons: dict[str, Comparison], surrogates: Sequence[str]) -> str:
    rows = [
        [model, *_cells([comparison.mean(channel) for channel in CHANNELS])]
        for model, comparison in comparisons.items()
    ]
    contest = [row for row in rows if row[0] in surrogates]
    if len(contest) > 1:
        for column in range(1, len(_HEADER) + 1):
            best = max(float(row[column]) for row in contest)
            for row in [row for row in contest if float(row[column]) == best]:
                row[column] = f'**{row[column]}**'
    return _table(['model', *_HEADER], rows)


def _notes(comparisons: dict[str, Comparison]) -> list[str]:
    """What a mean over fewer images than announced must not keep to itself."""
    notes = []
    for model, comparison in comparisons.items():
        for channel in CHANNELS:
            mean = comparison.mean(channel)
            if mean.identical and math.isfinite(mean.psnr):
                notes.append(
                    f'{model}: {mean.identical} of {len(comparison.images)} images equal their reference on '
                    f'{channel.upper()} (infinite PSNR) and are left out of the mean PSNR.'
                )
    return notes


def _cells(scores: Sequence[Score | Mean]) -> list[str]:
    return [text for score in scores for text in (f'{score.psnr:.2f}', f'{score.ssim:.4f}')]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, names to the left and numbers to the right, padded to equal widths."""
    names = len(header) - len(_HEADER)
    lines = [[*map(_escape, row[:names]), *row[names:]] for row in (header, *rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(header))]
    ruler = ['-' * width if column < names else '-' * (width - 1) + ':' for column, width in enumerate(widths)]
    text = []
    for line in (lines[0], ruler, *lines[1:]):
        cells = [
            cell.ljust(w) if column < names else cell.rjust(w)
            for column, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(f'| {" | ".join(cells)} |')
    return '\n'.join(text)


def _escape(name: str) -> str:
    return name.replace('|', '\\|').replace('\n', ' ')
