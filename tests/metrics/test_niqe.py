"""NIQE: both toolboxes' against the paper's equations written out, and the value that MATLAB gives for a photograph."""

from __future__ import annotations

import importlib.util
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gamma

from mea_plugin.core.images import read_rgb
from mea_plugin.metrics import niqe
from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.planes import Planes
from tests.helpers import photograph

TOOLBOXES = {'basicsr': niqe.basicsr_niqe, 'mmagic': niqe.mmagic_niqe}


@pytest.fixture(params=TOOLBOXES)
def toolbox(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f'{request.param} is not installed')
    return TOOLBOXES[request.param]()


def parameters() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the authors' photographs, as a toolbox ships them."""
    for name in ('basicsr/metrics', 'mmagic/evaluation/metrics'):
        spec = importlib.util.find_spec(name.partition('/')[0])
        if spec is not None:
            file = np.load(Path(spec.origin).parent / name.partition('/')[2] / 'niqe_pris_params.npz')
            return file['mu_pris_param'].ravel(), file['cov_pris_param']
    pytest.skip('neither toolbox is installed')
    raise AssertionError


def normalised(plane: np.ndarray) -> np.ndarray:
    """Equation 1: minus the local mean, by the local deviation plus 1; Gaussian of 7 x 7 and sigma 7/6."""
    axis = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    patches = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 3, mode='edge'), (7, 7))
    mean = (patches * window).sum((2, 3))
    return (plane - mean) / (np.sqrt(np.abs((patches**2 * window).sum((2, 3)) - mean**2)) + 1)


def fitted(values: np.ndarray) -> tuple[float, float, float]:
    """Equation 4's parameters by moment matching: shape, left and right scale."""
    left = math.sqrt((values[values < 0] ** 2).mean())
    right = math.sqrt((values[values > 0] ** 2).mean())
    ratio = left / right
    target = np.abs(values).mean() ** 2 / (values**2).mean() * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    # The authors' program knows shapes to three digits only.
    shape = round(brentq(lambda a: gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a)) - target, 0.2, 10), 3)
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def features(block: np.ndarray) -> list[float]:
    """The 18 numbers of a block: of its values, and of their products with four neighbours."""
    shape, left, right = fitted(block)
    result = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = fitted(block * np.roll(block, shift, (0, 1)))
        result += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return result


def halved(plane: np.ndarray) -> np.ndarray:
    """Half the size by Keys' kernel, stretched to twice its width; mirrored at the edges."""

    def keys(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, near, np.where(x <= 2, far, 0))

    weights = keys((np.arange(8) - 3.5) / 2)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(plane, ((3, 3), (0, 0)), mode='symmetric')
        plane = sum(weight * padded[tap : tap + len(plane) : 2] for tap, weight in enumerate(weights)).T
    return plane


def written_out(image: np.ndarray) -> float:
    """Equation 10."""
    plane = np.round(16 + image @ np.array([65.481, 128.553, 24.966]) / 255)
    rows, columns = plane.shape[0] // 96, plane.shape[1] // 96
    plane = plane[: rows * 96, : columns * 96]
    parts = []
    for size in (96, 48):
        values = normalised(plane)
        blocks = values.reshape(rows, size, columns, size).transpose(0, 2, 1, 3).reshape(-1, size, size)
        parts.append([features(block) for block in blocks])
        plane = halved(plane)
    table = np.concatenate(parts, axis=1)
    mean, covariance = parameters()
    difference = mean - table.mean(axis=0)
    return math.sqrt(difference @ np.linalg.pinv((covariance + np.cov(table, rowvar=False)) / 2) @ difference)


@pytest.mark.parametrize('seed', [0, 1])
def test_the_equations(toolbox, seed: int):
    image = photograph((200, 310), seed)
    value = niqe.measure_niqe(Planes(image, border=4), niqe=toolbox)
    assert value == pytest.approx(written_out(image[4:-4, 4:-4]), rel=1e-3)


def test_photographs(toolbox):
    from skimage import data

    image = data.chelsea()  # without flat parts, where single precision tells
    assert niqe.measure_niqe(Planes(image, border=0), niqe=toolbox) == pytest.approx(written_out(image), rel=2e-3)


def test_the_value_that_matlab_gives(toolbox, shared_data: Path):
    """BasicSR's authors report 5.72957338 of MATLAB R2021a for this photograph, the baboon of Set14."""
    image = read_rgb(next((shared_data / 'Set14' / 'HR').glob('img_001.*')))
    assert niqe.measure_niqe(Planes(image, border=0), niqe=toolbox) == pytest.approx(5.7296, abs=1e-3)


def test_the_metric():
    (metric,) = find_metrics(['niqe'])
    if metric.missing:
        pytest.skip(metric.missing)
    image = Planes(photograph((200, 310)), border=4)
    assert metric.kind == 'single'
    assert metric.measure(image) == pytest.approx(written_out(image.image), rel=1e-3)


@pytest.mark.parametrize(('size', 'defined'), [((96, 192), True), ((192, 96), True), ((95, 400), False)])
def test_images_with_fewer_than_two_blocks_are_undefined(toolbox, size: tuple[int, int], defined: bool):
    assert math.isfinite(niqe.measure_niqe(Planes(photograph(size), border=0), niqe=toolbox)) == defined


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_an_image_of_one_colour_is_undefined(toolbox):
    assert math.isnan(niqe.measure_niqe(Planes(np.full((200, 200, 3), 90, np.uint8), border=0), niqe=toolbox))


def test_mmagic_serves_where_basicsr_is_not(monkeypatch):
    found = importlib.util.find_spec
    if found('mmagic') is None:
        pytest.skip('MMagic is not installed')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'basicsr' else found(name))
    (metric,) = find_metrics(['niqe'])
    image = Planes(photograph((200, 310)), border=4)
    assert metric.missing == ''
    assert metric.measure(image) == niqe.measure_niqe(image, niqe=niqe.mmagic_niqe())


def test_blocks_of_one_colour_are_left_out_without_a_word(toolbox):
    image = photograph((288, 192))
    image[:96, :96] = 128
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        (metric,) = find_metrics(['niqe'])
        assert math.isfinite(metric.measure(Planes(image, border=0)))
    assert told == []
