"""A table before it has a format: numbers in full, and how many digits of them are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ['Cell', 'Column', 'Table']


@dataclass(frozen=True)
class Cell:
    """A number with or without an interval, or a text.

    Attributes:
        text: What is shown in place of a number: a name, or that there is no number.
        value: The number; ``inf`` is one, NaN and None are not.
        low: The lower end of its interval, if it has one.
        high: The upper end.
        digits: Digits after the point that are shown.
        is_signed: A number above 0 is shown with its sign.
        is_best: Shown in bold.
        name: For programs, where that is not the text.
    """

    text: str = ''
    value: float | None = None
    low: float | None = None
    high: float | None = None
    digits: int = 2
    is_signed: bool = False
    is_best: bool = False
    name: str = ''

    @property
    def number(self) -> str:
        """The text, or the number as it is shown, without its interval."""
        if self.text or self.value is None:
            return self.text
        return 'inf' if math.isinf(self.value) else self._show(self.value)

    @property
    def interval(self) -> str:
        """``[low, high]``, or nothing."""
        if self.low is None or self.high is None:
            return ''
        return f'[{self._show(self.low)}, {self._show(self.high)}]'

    def _show(self, value: float) -> str:
        return f'{value:{"+" if self.is_signed and value > 0 else ""}.{self.digits}f}'


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: For programs, such as ``psnr_y``.
        title: For readers, such as ``Y-PSNR ↑``.
        is_number: Numbers stand to the right.
        has_interval: Whether its numbers have intervals.
        is_detail: Left out where there is no room for it.
    """

    name: str
    title: str
    is_number: bool = True
    has_interval: bool = False
    is_detail: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: For file names, such as ``Set5-fidelity``.
        title: One line: what it shows.
        header: The columns.
        rows: As many cells each as there are columns.
        notes: Sentences below it, without which its numbers would be misread.
        setting: One sentence: what it was measured on, and how.
        legend: Sentences that hold for any such table: of several, they need to be read once.
    """

    name: str
    title: str
    header: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    setting: str = ''
    legend: list[str] = field(default_factory=list)

    @property
    def remarks(self) -> list[str]:
        """All sentences."""
        return [*([self.setting] if self.setting else []), *self.notes, *self.legend]
