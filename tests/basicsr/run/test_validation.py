"""Validation in one process: what SRModel measures and saves, without a trace in the training."""

import math
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.basicsr.models.test_training_step import GAN
from tests.basicsr.steps import UNET, batches, build, train

PSNR = {'type': 'calculate_psnr', 'crop_border': 4}
SSIM = {'type': 'calculate_ssim', 'crop_border': 4, 'better': 'higher'}


class Images(Dataset):
    """Validation images in memory, as BasicSR's datasets give them."""

    def __init__(self, name='Set3', count=3, gt=True):
        self.opt, self.gt, self.asked = {'name': name, 'phase': 'val'}, gt, []
        generator = torch.Generator().manual_seed(len(name))
        self.images = [torch.rand(3, 8 + 2 * index, 12, generator=generator) for index in range(count)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index)
        lq = self.images[index]
        gt = torch.nn.functional.interpolate(lq[None], scale_factor=4, mode='bilinear')[0]
        return {'lq': lq, 'lq_path': f'lq/{index:03d}.png', **({'gt': gt} if self.gt else {})}


def loader(*args, **kwargs):
    return DataLoader(Images(*args, **kwargs), batch_size=1, shuffle=False)


def make(kind='ExtractionModel', metrics=None, **val):
    metrics = {'psnr': PSNR, 'ssim': SSIM} if metrics is None else metrics
    model = build(kind, network_d=UNET, top={'val': {'metrics': metrics, **val}}, **(GAN if 'GAN' in kind else {}))
    model.opt['path']['visualization'] = ''
    return model


class Board:
    def __init__(self):
        self.scalars = {}

    def add_scalar(self, name, value, iteration):
        self.scalars[name, iteration] = value


@pytest.mark.parametrize('kind', ['ExtractionModel', 'ExtractionGANModel'])
def test_results_images_and_best_are_basicsr_s(kind, tmp_path, log):
    ours, theirs = make(kind), make('SRModel')
    theirs.net_g.load_state_dict(ours.net_g.state_dict())
    boards = {ours: Board(), theirs: Board()}
    for model, board in boards.items():
        model.opt['path']['visualization'] = str(tmp_path / type(model).__name__)
        for iteration in (2, 4):
            for data in (loader(), loader('Set2', 2)):
                assert model.validation(data, iteration, board, save_img=True) is (True if model is ours else None)
    assert ours.best_metric_results == theirs.best_metric_results
    assert ours.best_metric_results.keys() == {'Set3', 'Set2'}
    assert ours.metric_results == theirs.metric_results
    assert boards[ours].scalars == boards[theirs].scalars
    assert 'Validation Set2\n\t # psnr: ' in log()
    for path in sorted((tmp_path / 'SRModel').rglob('*.png')):
        other = tmp_path / type(ours).__name__ / path.relative_to(tmp_path / 'SRModel')
        assert other.read_bytes() == path.read_bytes()
    assert len(list((tmp_path / type(ours).__name__).rglob('*.png'))) == 6


def test_outside_training_images_have_the_set_s_folder(tmp_path):
    model = make(metrics={})
    model.opt.update(is_train=False, name='run')
    model.opt['path']['visualization'] = str(tmp_path)
    assert model.validation(loader(), 0, None, save_img=True)
    model.opt['val']['suffix'] = 'x4'
    assert model.validation(loader(), 0, None, save_img=True)
    assert {path.name for path in (tmp_path / 'Set3').iterdir()} >= {'000_run.png', '002_x4.png'}


def test_the_training_does_not_notice():
    model = make('ExtractionGANModel')
    train(model, 1)
    (batch,) = batches(1)
    model.feed_data(batch)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    assert model.validation(loader(), 1, None)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert all(module.training for network in (model.net_g, model.net_d) for module in network.modules())
    train(model, 1)


def test_the_average_is_what_is_validated():
    model = build('ExtractionModel', ema_decay=0.5, top={'val': {'metrics': {'psnr': PSNR}}})
    assert model.validation(loader(), 1, None)
    first = model.metric_results['psnr']
    with torch.no_grad():
        model.net_g.body[0].weight += 1
    assert model.validation(loader(), 2, None)
    assert model.metric_results['psnr'] == first
    assert not model.net_g_ema.training


def test_a_request_to_stop_discards_the_round():
    model, data = make(), loader()
    assert model.validation(loader(), 1, None)
    best, results = {**model.best_metric_results['Set3']['psnr']}, {**model.metric_results}
    answers = iter([False, True])
    with torch.no_grad():
        model.net_g.body[0].weight *= 0.9
    model.stop_requested = lambda: next(answers)
    assert model.validation(data, 2, None) is False
    assert data.dataset.asked == [0]
    assert model.best_metric_results['Set3']['psnr'] == best
    assert model.metric_results == results
    assert model.net_g.training
    model.stop_requested = lambda: False
    assert model.validation(loader(), 3, None) is True


def test_a_metric_that_is_no_number_is_logged_and_never_the_best(log):
    from basicsr.utils.registry import METRIC_REGISTRY

    values = []

    def calculate_nothing(img, **kwargs):
        return values.pop(0)

    METRIC_REGISTRY.register(calculate_nothing)
    try:
        model, board = make(metrics={'odd': {'type': 'calculate_nothing'}}), Board()
        for iteration, pair in enumerate(([2.0, None], [math.nan, 3.0], [1.0, 5.0], [math.inf, 1.0]), 1):
            values += pair
            assert model.validation(loader(count=2), iteration, board)
            if iteration == 2:
                assert model.best_metric_results['Set3']['odd'] == {'better': 'higher', 'val': -math.inf, 'iter': -1}
            if iteration == 3:
                assert model.best_metric_results['Set3']['odd'] == {'better': 'higher', 'val': 3.0, 'iter': 3}
    finally:
        METRIC_REGISTRY._obj_map.pop('calculate_nothing')
    assert 'odd: nan\tBest: -inf @ -1 iter' in log()
    assert 'odd: inf' in log()
    assert board.scalars == {('metrics/Set3/odd', 3): 3.0}


def test_a_set_without_responses_does_not_find_training_s():
    model = make(metrics={})
    train(model, 1)
    seen = []
    visuals = model.get_current_visuals
    model.get_current_visuals = lambda: seen.append(sorted(visuals())) or visuals()
    assert model.validation(loader(gt=False), 1, None)
    assert seen == [['lq', 'result']] * 3


def test_a_metric_that_was_added_since_the_last_run_begins_anew():
    model = make()
    model.load_training_state(
        {'scalers': [None], 'best_metric_results': {'Set3': {'psnr': {'better': 'higher', 'val': 99.0, 'iter': 7}}}}
    )
    assert model.validation(loader(), 8, None)
    assert model.best_metric_results['Set3']['psnr']['iter'] == 7
    assert model.best_metric_results['Set3']['ssim']['iter'] == 8
