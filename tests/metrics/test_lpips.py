"""LPIPS: the package's network with a weight file's numbers in every place, against the equation written out."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.lpips import _BACKBONES, Lpips
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.weight_source import WeightSource
from tests.helpers import photograph, refused
from tests.metrics.weight_files import publish

# The layers after which features are compared, in torchvision's numbers.
TAPS = {
    'alexnet': (1, 4, 7, 9, 11),
    'vgg16': (3, 8, 15, 22, 29),
    'squeezenet1_1': (1, 4, 7, 9, 10, 11, 12),
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('something was to be downloaded')

    monkeypatch.setattr(socket, 'create_connection', refuse)


def random_backbone(name: str) -> nn.Module:
    """torchvision's network; only what LPIPS reads is drawn, the classifier is zero."""
    from torchvision import models

    with torch.device('meta'):
        network = getattr(models, name)()
    network.to_empty(device='cpu')
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.zero_()
            if key.startswith('features') and key.endswith('weight'):
                nn.init.kaiming_normal_(parameter)
            elif key.startswith('features'):
                nn.init.uniform_(parameter, -0.1, 0.1)
    return network.eval()


def written_out(network: nn.Module, taps: tuple[int, ...], lines: dict, first: np.ndarray, second: np.ndarray) -> float:
    """The equation, on ImageNet's normalisation of RGB in [0, 1]."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()
    network = network.double()
    total = 0.0
    x, y = (((torch.tensor(image).double() / 255 - mean) / std).permute(2, 0, 1)[None] for image in (first, second))
    with torch.no_grad():
        for index, layer in enumerate(network.features):
            x, y = layer(x), layer(y)
            if index in taps:
                number = taps.index(index)
                a, b = (z[0] / z[0].pow(2).sum(0).sqrt().clamp(min=1e-10) for z in (x, y))
                weights = lines[f'lin{number}.model.1.weight'].double().reshape(-1, 1, 1)
                total += float((weights * (a - b).pow(2)).sum(0).mean())
    return total


@pytest.mark.parametrize(
    'name',
    ['lpips_squeeze', 'lpips_alex', pytest.param('lpips_vgg', marks=pytest.mark.slow)],
    ids=lambda name: name[6:],
)
def test_the_equation(name: str, tmp_path: Path, monkeypatch):
    import lpips

    backbone = _BACKBONES[name]
    network = random_backbone(backbone.torchvision)
    publish(monkeypatch, tmp_path, backbone.weights, network.state_dict())
    (metric,) = find_metrics([name], sources=WeightSource(tmp_path))
    assert metric.missing == ''
    assert (metric.kind, metric.better) == ('pair', 'lower')
    assert backbone.title in metric.title
    first, second = photograph((70, 64), 0), photograph((70, 64), 1)
    value = metric.measure(Planes(first, border=4), Planes(second, border=4))
    lines = torch.load(
        Path(lpips.__file__).parent / 'weights' / 'v0.1' / f'{backbone.name}.pth', 'cpu', weights_only=True
    )
    expected = written_out(network, TAPS[backbone.torchvision], lines, first, second)
    assert expected > 0.01
    assert value == pytest.approx(expected, rel=1e-4)
    assert metric.measure(Planes(first, border=0), Planes(first, border=0)) == 0


@pytest.fixture
def squeeze(tmp_path: Path, monkeypatch):
    """LPIPS with a random SqueezeNet."""
    state = random_backbone('squeezenet1_1').state_dict()
    publish(monkeypatch, tmp_path, 'squeezenet1_1-b8a52dc0.pth', state)
    return find_metrics(['lpips_squeeze'], sources=WeightSource(tmp_path))[0]


def test_the_network_is_built_once_and_gives_all_threads_the_same(squeeze, monkeypatch):
    import lpips

    built = []
    original = lpips.LPIPS.__init__
    monkeypatch.setattr(lpips.LPIPS, '__init__', lambda *args, **kwargs: built.append(1) or original(*args, **kwargs))
    images = [Planes(photograph((40, 40), seed), border=0) for seed in range(3)]
    threads, values, state = torch.get_num_threads(), {}, torch.get_rng_state()

    def work(number: int) -> None:
        pair = images[number % 3], images[(number + 1) % 3]
        values[number] = squeeze.measure(*pair)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(9)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(built) == 1
    assert len(set(values.values())) == 3
    assert all(values[number] == values[number % 3] for number in range(9))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)  # no random network was made on the way
    assert not any(parameter.requires_grad for parameter in squeeze.measure.network.parameters())


@pytest.mark.parametrize('name', ['lpips_squeeze', 'lpips_alex', 'lpips_vgg'])
def test_images_too_small_for_a_backbone_are_undefined(name: str):
    backbone = _BACKBONES[name]
    metric = Lpips(backbone, Path('none'))
    small = Planes(photograph((90, backbone.smallest - 1)), border=0)
    assert math.isnan(metric(small, small))
    # The features of the smallest image are not empty, those of a smaller one are.
    from torchvision import models

    with torch.device('meta'):
        features = getattr(models, backbone.torchvision)().features[: max(TAPS[backbone.torchvision]) + 1]
        assert features(torch.empty(1, 3, backbone.smallest, 90)).numel()
        with pytest.raises(RuntimeError, match='too small'):
            features(torch.empty(1, 3, backbone.smallest - 1, 90))


def test_images_of_two_sizes(squeeze):
    with pytest.raises(ValueError, match=r'40x40\b.*\b41x40'):
        squeeze.measure(Planes(photograph((40, 40)), border=0), Planes(photograph((40, 41)), border=0))


def test_files_in_the_format_of_torch_before_1_6(tmp_path: Path, squeeze, monkeypatch):
    old = tmp_path / 'old'
    old.mkdir()
    state = torch.load(tmp_path / 'squeezenet1_1-b8a52dc0.pth', weights_only=True)
    publish(monkeypatch, old, 'squeezenet1_1-b8a52dc0.pth', state, _use_new_zipfile_serialization=False)
    (metric,) = find_metrics(['lpips_squeeze'], sources=WeightSource(old))
    pair = Planes(photograph((40, 40), 0), border=0), Planes(photograph((40, 40), 1), border=0)
    assert metric.measure(*pair) == squeeze.measure(*pair)


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    ('change', 'quoted'),
    [
        ('one is missing', ('SqueezeNet', 'features.3.squeeze.weight')),
        ('one more', ('SqueezeNet', 'features.99.weight')),
        ('other shape', ('SqueezeNet', 'features.3.squeeze.weight', '(1,)')),
        ('code', ()),
    ],
)
def test_weights_that_do_not_fill_the_network_are_refused(
    change: str, quoted: tuple[str, ...], tmp_path: Path, squeeze, monkeypatch
):
    state = torch.load(tmp_path / 'squeezenet1_1-b8a52dc0.pth', weights_only=True)
    if change == 'one is missing':
        state.pop('features.3.squeeze.weight')
    elif change == 'one more':
        state['features.99.weight'] = torch.zeros(1)
    elif change == 'other shape':
        state['features.3.squeeze.weight'] = torch.zeros(1)
    else:
        state['features.3.squeeze.weight'] = Payload(tmp_path / 'marker')
    path = publish(monkeypatch, tmp_path, 'squeezenet1_1-b8a52dc0.pth', state)
    image = Planes(photograph((40, 40)), border=0)
    with refused(path, *quoted):
        Lpips(_BACKBONES['lpips_squeeze'], path)(image, image)
    assert not (tmp_path / 'marker').exists()


def test_published_value(monkeypatch):
    """torchmetrics documents 0.1008 for these images, of SqueezeNet and the same linear layers."""
    path = WeightSource().get('squeezenet1_1-b8a52dc0.pth')
    if path is None:
        pytest.skip(WeightSource().advice('squeezenet1_1-b8a52dc0.pth'))
    torch.manual_seed(123)
    first, second = (torch.rand(10, 3, 100, 100) * 2 - 1 for _ in range(2))
    with torch.inference_mode():
        values = Lpips(_BACKBONES['lpips_squeeze'], path).network(first, second)
    assert float(values.mean()) == pytest.approx(0.1008, abs=1e-4)
