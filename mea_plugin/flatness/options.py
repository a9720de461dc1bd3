"""The option file of a flatness measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator
from typing_extensions import Self

from mea_plugin.core.schema import Flag, FolderName, Number, Options, Text, Whole, refusal, shortened

__all__ = [
    'FlatnessOptions',
    'HessianOptions',
    'LandscapeOptions',
    'LossOptions',
    'RunOptions',
    'SharpnessOptions',
    'radius_key',
]

_LARGEST_SEED = 2**32 - 1  # torch takes more, but a few are counted on from it


def radius_key(radius: float) -> str:
    """A radius as a JSON file's key."""
    return f'{radius:g}'


def _check_radii(radii: tuple[float, ...]) -> tuple[float, ...]:
    if not radii:
        raise refusal('there is no radius', do='Give a list, for example [0.01, 0.05]')
    if len({radius_key(radius) for radius in radii}) < len(radii):
        raise refusal(f'a radius stands twice in {shortened(list(radii))}', do='Remove one')
    return tuple(sorted(radii))


def _check_odd(points: int) -> int:
    if points % 2 == 0:
        raise refusal(f'got {points}', do='Give an odd number: the one in the middle is 0')
    return points


def _check_row(name: str) -> str:
    if '|' in name or not name.isprintable():
        raise refusal(f'{shortened(name)} cannot head a row of a table', do='Leave out | and line breaks')
    return name


def _check_runs(runs: dict[str, Any]) -> dict[str, Any]:
    if not runs:
        raise refusal('there are no runs', do='Write NAME: {type: basicsr, network_g: ..., weights: GLOB}')
    return runs


Points = Annotated[int, Whole(3), AfterValidator(_check_odd)]
Off = BeforeValidator(lambda value: None if value is False else value)  # `false` leaves a measure out as `~` does


class LossOptions(Options):
    """The loss whose landscape is measured."""

    type: Literal['l1', 'mse', 'charbonnier'] = 'l1'
    """The pixel loss."""
    epsilon: Annotated[float, Number(above=0, most=1)] | None = None
    """Where ``charbonnier`` is rounded off, in units of the value range [0, 1]; by default a quarter of a
    grey level."""
    high_frequency: dict[str, Any] | None = None
    """Arguments of ``HighFrequencyLoss``, which is added to the pixel loss."""

    @model_validator(mode='after')
    def _check_epsilon(self) -> Self:
        if self.epsilon is not None and self.type != 'charbonnier':
            raise refusal(f'{self.type} has no epsilon', do='Remove it, or write type: charbonnier')
        return self


class RunOptions(Options, extra='allow'):
    """A run to measure: a victim's options, where the file of weights may be a glob or a list."""

    type: Literal['basicsr', 'mmagic', 'python']
    """The type of victim."""

    @model_validator(mode='after')
    def _check_mode(self) -> Self:
        if (self.model_extra or {}).get('test_mode', 'eval') != 'eval':
            raise refusal('test_mode is for victims', do='Remove it, and write mode: train at the top')
        return self


class SharpnessOptions(Options):
    """How far the loss rises within a radius."""

    radii: Annotated[tuple[Annotated[float, Number(above=0)], ...], AfterValidator(_check_radii)] = (0.01, 0.05)
    """Lengths of the largest perturbation of the weights, as SAM's ``rho``."""
    steps: Annotated[int, Whole()] = 10
    """Steps of gradient ascent after SAM's single step."""
    adaptive: Flag = False
    """Whether perturbations are measured in units of the weights, as in ASAM."""


class HessianOptions(Options):
    """The Hessian's largest eigenvalue and its trace."""

    iterations: Annotated[int, Whole(1)] = 100
    """Steps of power iteration, at most."""
    tolerance: Annotated[float, Number()] = 1e-2
    """Residual, as a share of the eigenvalue, at which power iteration ends."""
    probes: Annotated[int, Whole(1)] = 32
    """Random vectors that the trace is estimated from."""


class LineOptions(Options):
    """The loss along one random direction."""

    extent: Annotated[float, Number(above=0)] = 1.0
    """Length of the longest step, in lengths of each filter."""
    points: Points = 21
    """Steps, an odd number of at least 3."""


class PlaneOptions(LineOptions):
    """The loss along two random directions."""

    points: Points = 11
    """Steps along each direction, an odd number of at least 3."""


class LandscapeOptions(Options):
    """The loss around the last checkpoint of each run."""

    line: Annotated[LineOptions | None, Off] = LineOptions()
    """Along one direction; ``~`` leaves it out."""
    plane: Annotated[PlaneOptions | None, Off] = PlaneOptions()
    """Along two directions; ``~`` leaves it out."""

    keep_null = ('line', 'plane')


class FlatnessOptions(Options):
    """The option file of ``tools/flatness.py``."""

    name: FolderName
    """Name of the measurement."""
    output: Path | None = None
    """Folder of the results; by default ``results/NAME``."""
    queries: Path
    """Folder of the query set that the loss is taken over."""
    samples: Annotated[int, Whole(1)] = 32
    """Crops that the loss is taken over."""
    crop: Annotated[int, Whole(1)] = 32
    """Height and width of a crop, in pixels of the query."""
    batch_size: Annotated[int, Whole(1)] = 4
    """Crops that go through a network together."""
    seed: Annotated[int, Whole(0, _LARGEST_SEED)] = 0
    """Seed of the crops and of everything random."""
    device: str = 'auto'
    """Where runs without a device of their own are measured."""
    mode: Literal['eval', 'train'] = 'eval'
    """Mode of the networks."""
    loss: LossOptions = LossOptions()
    """The loss."""
    runs: Annotated[dict[Annotated[Text, AfterValidator(_check_row)], RunOptions], AfterValidator(_check_runs)]
    """Runs to measure, by name."""
    sharpness: Annotated[SharpnessOptions | None, Off] = SharpnessOptions()
    """Sharpness; ``~`` leaves it out."""
    hessian: Annotated[HessianOptions | None, Off] = HessianOptions()
    """Eigenvalue and trace; ``~`` leaves them out."""
    landscape: Annotated[LandscapeOptions | None, Off] = LandscapeOptions()
    """Loss landscape; ``~`` leaves it out."""

    keep_null = ('sharpness', 'hessian', 'landscape')
