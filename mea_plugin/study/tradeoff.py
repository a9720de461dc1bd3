"""The figure of defences: what each takes from attackers, by what it takes from customers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mea_plugin.report.figures.style import INK, PAGE, QUIET, drawing, grid_of_axes, label_of, legend, style_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['Point', 'by_defence', 'frontier', 'panels_of']

Study = Mapping[str, Any]

_FRONTIER = 'frontier, best attacker'
_CROWDED = 6  # defences in a panel that is as wide as the page
_OFFSETS = (6, -6, 14, -14, 22, 30, 38, 46)  # points, of labels
_LEADER = {'arrowstyle': '-', 'color': QUIET, 'linewidth': 0.5, 'shrinkA': 0, 'shrinkB': 2}


@dataclass(frozen=True)
class Point:
    """A defence in a panel.

    Attributes:
        defence: Its name.
        customer: The deciding metric of a defended answer against the undefended one.
        losses: By method, what an attacker loses: more is worse for the attacker.
        decided: The methods for which that is not undecided.
    """

    defence: str
    customer: float
    losses: dict[str, float]
    decided: frozenset[str]

    @property
    def best(self) -> str:
        """The method that loses least."""
        return min(self.losses, key=self.losses.__getitem__)

    @property
    def least(self) -> float:
        """What the attacker loses who does best."""
        return self.losses[self.best]


def panels_of(study: Study) -> dict[tuple[Any, ...], list[Point]]:
    """Points by victim, surrogate, source of queries and budget."""
    metric = next(iter(study['metrics']))
    sign = -1 if study['metrics'][metric]['better'] == 'higher' else 1
    customers = {(one['victim'], one['defence']): one['quality'][metric] for one in study['defences']['customers']}
    found: dict[tuple[Any, ...], dict[str, dict[str, Mapping[str, Any]]]] = {}
    for one in study['defences']['attackers']:
        judged = one['metrics'][metric]
        if judged['mean'] is not None and customers[one['victim'], one['defence']] is not None:
            panel = found.setdefault((one['victim'], one['surrogate'], one['queries'], one['budget']), {})
            panel.setdefault(one['defence'], {})[one['method']] = judged
    return {
        panel: [
            Point(
                defence,
                customers[panel[0], defence],
                {method: sign * judged['mean'] for method, judged in methods.items()},
                frozenset(method for method, judged in methods.items() if judged['verdict'] != 'undecided'),
            )
            for defence, methods in defences.items()
        ]
        for panel, defences in found.items()
    }


def frontier(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """The defences that no other beats on both counts, from the cheapest for customers to the dearest.

    Measured by the attacker who does best against each; where it is undecided whether that one loses anything, the
    defence is none.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.customer if higher_is_better else one.customer, -one.least)):
        if point.best in point.decided and point.least > max([0.0, *(one.least for one in kept)]):
            kept.append(point)
    return kept


@drawing
def by_defence(study: Study) -> Figure:
    """What an attacker loses by what a customer loses, a panel per configuration, a marker per method.

    A defence pays where it takes more from the attacker than another that costs the customer as much: high and to the
    left. The customer's loss is that of the deciding metric against the undefended answer.
    """
    metric = next(iter(study['metrics']))
    about = study['metrics'][metric]
    unit = f' ({about["unit"]})' if about['unit'] else ''
    is_higher = about['better'] == 'higher'
    panels = panels_of(study)
    columns = 1 if max(map(len, panels.values())) > _CROWDED else 2
    figure, axes = grid_of_axes(len(panels), columns, PAGE, 2.6)
    for axis, ((victim, surrogate, queries, budget), points) in zip(axes, panels.items(), strict=False):
        for point in points:
            span = (point.least, max(point.losses.values()))
            axis.plot([point.customer] * 2, span, color=QUIET, linewidth=0.8, zorder=1)
        for method in study['methods']:
            style = style_for(method, study['methods'], None)
            mine = [(one.customer, one.losses[method]) for one in points if method in one.losses]
            if mine:
                x, y = zip(*mine, strict=True)
                axis.plot(x, y, color=style.colour, marker=style.marker, linestyle='none', label=label_of(method))
        best = frontier(points, higher_is_better=is_higher)
        if best:
            steps = [one.customer for one in best], [one.least for one in best]
            axis.plot(*steps, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), label=_FRONTIER, zorder=1)
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.margins(0.1, 0.16)
        if is_higher:
            axis.invert_xaxis()  # the less a customer loses, the further to the left
        axis.set_title(f'{label_of(victim)}\n{label_of(f"{surrogate}, {queries} {budget}")}')
        axis.set_xlabel(f'customer: {about["title"]} of the answer{unit}')
        axis.set_ylabel(f'attacker: {about["title"]} lost{unit}')
        axis.grid()
    legend(figure, axes, [*study['methods'], _FRONTIER], columns=7)
    figure.draw_without_rendering()  # where points are is known only now
    for axis, points in zip(axes, panels.values(), strict=False):
        _write_names(axis, points)
    return figure


def _write_names(axis: Axes, points: Sequence[Point]) -> None:
    """The defences' names beside their points, as near as they can be without covering each other or a point."""
    taken = [box for point in points for box in _markers(axis, point)]
    floor = axis.get_window_extent().y0
    for point in points:
        ends = (max(point.losses.values()), point.least)
        for offset in _OFFSETS:
            text = axis.annotate(
                label_of(point.defence),
                (point.customer, ends[offset < 0]),
                (0, offset),
                textcoords='offset points',
                ha='center',
                va='bottom' if offset > 0 else 'top',
                fontsize=6.5,
            )
            text.set_in_layout(False)
            box = text.get_window_extent().bounds
            is_free = box[1] >= floor and not any(_overlap(box, other) for other in taken)
            if is_free or offset == _OFFSETS[-1]:
                taken.append(box)
                if abs(offset) > _OFFSETS[0]:
                    place = (point.customer, ends[offset < 0])
                    leader = axis.annotate('', place, (0, offset), textcoords='offset points', arrowprops=_LEADER)
                    leader.set_in_layout(False)
                break
            text.remove()


_Box = tuple[float, float, float, float]


def _markers(axis: Axes, point: Point) -> Iterator[_Box]:
    """Left, bottom, width and height of what is drawn of a point, in the canvas' pixels."""
    for loss in point.losses.values():
        x, y = axis.transData.transform((point.customer, loss))
        yield x - 3, y - 3, 6, 6


def _overlap(one: _Box, other: _Box) -> bool:
    return all(one[side] < other[side] + other[side + 2] and other[side] < one[side] + one[side + 2] for side in (0, 1))
