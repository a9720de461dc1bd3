"""FID and KID: their formulas against scipy and sums written out, and the real Inception with weights of a file."""

from __future__ import annotations

import math
import socket
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.features import ImageFeatures
from mea_plugin.metrics.fid_kid import fid, kid, remark
from mea_plugin.metrics.inception import WEIGHTS, InceptionExtractor, shared_extractor
from mea_plugin.metrics.weight_source import WeightSource
from tests.helpers import photograph, refused, save
from tests.metrics.weight_files import publish

SIZE = 6


class Listed:
    """Features that the images spell out: an image is a row's bytes."""

    size, fingerprint = SIZE, 'listed'

    def extract(self, image: np.ndarray) -> np.ndarray:
        return np.frombuffer(image.tobytes(), np.float32)[:SIZE]


def collected(rows: np.ndarray) -> ImageFeatures:
    features = ImageFeatures(Listed())
    for row in rows.astype(np.float32):
        features.add(np.frombuffer(row.tobytes(), np.uint8).reshape(2, 4, 3))
    return features


def draw(count: int, shift: float, scale: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, SIZE)) @ rng.normal(size=(SIZE, SIZE)) * scale + shift


@pytest.mark.parametrize('counts', [(50, 40), (300, 300), (4, 5)], ids=['many', 'blocks', 'rank deficient'])
def test_fid_is_the_frechet_distance(counts: tuple[int, int]):
    first, second = draw(counts[0], 0.0, 1.0, 1), draw(counts[1], 0.5, 1.5, 2)
    (m1, c1), (m2, c2) = (
        (x.mean(0), np.cov(x.astype(np.float32).astype(float), rowvar=False)) for x in (first, second)
    )
    root = scipy.linalg.sqrtm(c1 @ c2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.trace(root).real
    assert fid(collected(first), collected(second)) == pytest.approx(expected, rel=1e-5)


def test_fid_of_known_distributions():
    """Of normal distributions with covariances a I and b I: |m|^2 + d (sqrt a - sqrt b)^2."""

    class Known:
        extractor, count = Listed(), 9

        def __init__(self, mean: float, variance: float):
            self.mean = lambda: np.full(SIZE, mean)
            self.covariance = lambda: variance * np.eye(SIZE)

    assert fid(Known(0.0, 1.0), Known(2.0, 9.0)) == pytest.approx(4 * SIZE + SIZE * (1 - 3) ** 2)
    assert fid(Known(1.0, 4.0), Known(1.0, 4.0)) == pytest.approx(0, abs=1e-9)


def test_a_set_has_no_distance_from_itself():
    rows = draw(30, 0, 1, 3)
    assert 0 <= fid(collected(rows), collected(rows[::-1])) < 1e-5


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(a * b for a, b in zip(x, y, strict=True)) / SIZE + 1) ** 3

    n = len(first)
    within = sum(kernel(rows[i], rows[j]) for rows in (first, second) for i in range(n) for j in range(n) if i != j)
    between = sum(kernel(x, y) for x in first for y in second)
    return within / (n * (n - 1)) - 2 * between / n**2


def test_kid_of_whole_sets_is_the_unbiased_squared_mmd():
    first, second = draw(14, 0, 0.5, 4).astype(np.float32), draw(14, 0.4, 0.7, 5).astype(np.float32)
    expected = squared_mmd(first.astype(float), second.astype(float))
    assert kid(collected(first), collected(second)) == pytest.approx(expected, rel=1e-4)


def test_kid_below_the_subset_size_takes_the_smaller_set_whole():
    first, second = draw(12, 0, 0.5, 4).astype(np.float32), draw(5, 0.4, 0.7, 5).astype(np.float32)
    one, other = collected(first), collected(second)
    value = kid(one, other, subsets=7)
    draws = np.random.RandomState(2020)
    rows = one.rows(range(12)).astype(float), other.rows(range(5)).astype(float)
    expected = []
    for _ in range(7):
        chosen = [each[draws.choice(len(each), 5, replace=False)] for each in rows]
        expected.append(squared_mmd(*chosen))
    assert value == pytest.approx(np.mean(expected), rel=1e-4)


def test_kid_is_that_of_torch_fidelity_on_the_same_rows():
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    first, second = collected(draw(60, 0, 0.5, 6)), collected(draw(50, 0.3, 0.5, 7))
    rows = [torch.from_numpy(each.rows(range(each.count))) for each in (first, second)]
    expected = kid_features_to_metric(*rows, kid_subsets=9, kid_subset_size=20, verbose=False)[KEY_METRIC_KID_MEAN]
    # float32 products round by where in memory their rows lie
    assert kid(first, second, subsets=9, subset_size=20) == pytest.approx(expected, rel=1e-6)
    assert kid(first, second, subsets=9, subset_size=20, seed=1) != pytest.approx(expected, rel=1e-4)


def test_kid_depends_neither_on_order_nor_on_the_day():
    rows, others = draw(60, 0, 1, 8), draw(60, 0, 1, 9)
    values = {kid(collected(each), collected(others), subsets=5, subset_size=10) for each in (rows, rows[::-1], rows)}
    assert len(values) == 1


@pytest.mark.parametrize('measure', [fid, kid])
def test_sets_of_fewer_than_two_images_are_undefined(measure):
    many = collected(draw(5, 0, 1, 0))
    for count in (0, 1):
        assert math.isnan(measure(collected(draw(count, 0, 1, 1)), many))
        assert math.isnan(measure(many, collected(draw(count, 0, 1, 1))))


@pytest.mark.parametrize('measure', [fid, kid])
def test_features_of_two_networks_are_not_compared(measure):
    other = collected(draw(5, 0, 1, 0))
    other.extractor.fingerprint = 'f00d'
    with pytest.raises(ValueError, match=other.extractor.fingerprint):
        measure(collected(draw(5, 0, 1, 0)), other)


def test_what_small_sets_mean_is_said():
    assert remark(3000, 2500) == 'FID and KID of 3000 images against 2500'
    assert 'lack full rank' in remark(3000, 2048)
    assert 'KID takes 100 images of each set, not 1000' in remark(100, 5000)


@pytest.fixture(scope='module')
def inception_file(tmp_path_factory) -> Path:
    """A weight file of a random Inception, full-size."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Random(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):
            """Keep what was drawn."""

    folder = tmp_path_factory.mktemp('inception')
    torch.save({}, folder / 'empty.pth')
    torch.manual_seed(0)
    network = Random('random', ['2048'], str(folder / 'empty.pth'))
    for key, tensor in network.state_dict().items():
        if key.endswith('conv.weight'):
            torch.nn.init.kaiming_normal_(tensor)  # keeps the features alive through all layers
        elif key.endswith('running_mean'):
            tensor.uniform_(-0.1, 0.1)
        elif key.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), folder / WEIGHTS)
    return folder / WEIGHTS


@pytest.fixture
def inception(inception_file: Path, monkeypatch) -> Path:
    """The same, known as the published one; and nothing is downloaded."""

    def refuse(*args, **kwargs):
        raise AssertionError('something was to be downloaded')

    monkeypatch.setattr(socket, 'create_connection', refuse)
    state = torch.load(inception_file, weights_only=True)
    return publish(monkeypatch, inception_file.parent, WEIGHTS, state)


def test_inceptions_features_are_torch_fidelitys(inception: Path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    metrics = find_metrics(['kid', 'fid'], sources=WeightSource(inception.parent))
    assert [metric.missing for metric in metrics] == ['', '']
    assert [metric.kind for metric in metrics] == ['set', 'set']
    extractor = metrics[0].extractor
    assert extractor is metrics[1].extractor
    state = torch.get_rng_state()
    features = extractor.collect()
    picture = photograph((40, 50))
    features.add(picture)
    assert torch.equal(torch.get_rng_state(), state)
    theirs = FeatureExtractorInceptionV3('theirs', ['2048'], str(inception))
    (expected,) = theirs(torch.from_numpy(picture).permute(2, 0, 1)[None])
    np.testing.assert_array_equal(features.rows([0]), expected.numpy())
    assert 0.1 < expected.std() < 100
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, extractor.network.state_dict()[key])


def test_a_file_without_the_counters_of_training(inception: Path, tmp_path: Path):
    state = torch.load(inception, weights_only=True)
    fewer = {key: value for key, value in state.items() if not key.endswith('num_batches_tracked')}
    assert len(fewer) < len(state)
    torch.save(fewer, tmp_path / WEIGHTS)
    network = InceptionExtractor(tmp_path / WEIGHTS).network
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in fewer.items())


@pytest.mark.parametrize(
    ('change', 'quoted'),
    [
        ('less', ('Mixed_7c.branch1x1.conv.weight',)),
        ('more', ('Mixed_8a.conv.weight',)),
        ('shape', ('Mixed_7c.branch1x1.conv.weight', '[1]')),
    ],
)
def test_weights_that_do_not_fill_the_network_are_refused(
    change: str, quoted: tuple[str, ...], inception: Path, tmp_path: Path
):
    state = torch.load(inception, weights_only=True)
    if change == 'less':
        state.pop('Mixed_7c.branch1x1.conv.weight')
    elif change == 'more':
        state['Mixed_8a.conv.weight'] = torch.zeros(1)
    else:
        state['Mixed_7c.branch1x1.conv.weight'] = torch.zeros(1)
    torch.save(state, tmp_path / WEIGHTS)
    with refused(tmp_path / WEIGHTS, *quoted):
        _ = InceptionExtractor(tmp_path / WEIGHTS).network


def test_other_weights_are_another_extractor(inception: Path, tmp_path: Path):
    other = tmp_path / WEIGHTS
    other.write_bytes(inception.read_bytes() + b'x')
    assert shared_extractor(inception) is shared_extractor(inception)
    assert shared_extractor(inception).fingerprint != shared_extractor(other).fingerprint


def check_against_torch_fidelity(weights: Path, tmp_path: Path) -> None:
    """FID and KID of two folders of images, by torch-fidelity as a whole and by the metrics here."""
    from torch_fidelity import calculate_metrics

    pictures = {name: [photograph((48, 48), seed + base) for seed in range(4)] for name, base in (('a', 0), ('b', 9))}
    for name, each in pictures.items():
        for index, picture in enumerate(each):
            save(tmp_path / name / f'{index}.png', picture)
    theirs = calculate_metrics(
        input1=str(tmp_path / 'a'),
        input2=str(tmp_path / 'b'),
        fid=True,
        kid=True,
        kid_subset_size=4,
        kid_subsets=2,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(weights),
    )
    metrics = find_metrics(['fid', 'kid'], sources=WeightSource(weights.parent))
    sets = [metrics[0].extractor.collect(tmp_path / 'cache') for _ in pictures]
    for features, each in zip(sets, pictures.values(), strict=True):
        for picture in each:
            features.add(picture)
    assert metrics[0].measure(*sets) == pytest.approx(theirs['frechet_inception_distance'], rel=1e-3)
    assert metrics[1].measure(*sets) == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_whole_sets_as_torch_fidelity_measures_them(inception: Path, tmp_path: Path):
    check_against_torch_fidelity(inception, tmp_path)


@pytest.mark.slow
def test_whole_sets_with_the_published_weights(tmp_path: Path):
    path = WeightSource().get(WEIGHTS)
    if path is None:
        pytest.skip(WeightSource().advice(WEIGHTS))
    check_against_torch_fidelity(path, tmp_path)
