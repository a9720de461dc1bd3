"""SAM in MMEngine models of other people: the same step as ours, and the models it cannot serve."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.helpers import refused
from tests.mmagic import tiny

pytest.importorskip('mmagic')


def mixed():
    """MMagic's own model with the mixin."""
    from mmagic.models.base_models import BaseEditModel

    from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

    return type('MixedEditModel', (SAMModelMixin, BaseEditModel), {})


def plain_mmengine_model():
    """A model whose batches are tuples, as MMEngine's first tutorial has it."""
    from mmengine.model import BaseModel

    from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

    class Regression(SAMModelMixin, BaseModel):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))

        def forward(self, x, y, mode='tensor'):
            return {'loss_mse': (self.net(x) - y).square().mean()} if mode == 'loss' else self.net(x)

    return Regression()


@pytest.mark.parametrize('sam', [True, False], ids=['SAM', 'plain'])
@pytest.mark.parametrize('window', [1, 2])
def test_it_trains_as_the_extraction_model(sam, window):
    config = tiny.edit_config(generator=tiny.dropout_upsampler())
    ours = tiny.build(config)
    model = tiny.build({**config, 'type': mixed()})
    batches = [tiny.edit_batch(seed) for seed in range(4)]
    logs = []
    for each in (ours, model):
        torch.manual_seed(7)
        wrapper = tiny.wrap(each, sam, accumulative_counts=window)
        logs.append([each.train_step(copy.deepcopy(batch), wrapper) for batch in batches])
    own, theirs = ([next(iter(log.values())).item() for log in each] for each in logs)
    assert own == theirs
    for one, other in zip(ours.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_any_model_of_mmengine_takes_two_passes_by_hand():
    """Batches may be tuples; statistics move once."""
    model, by_hand = plain_mmengine_model(), plain_mmengine_model()
    x, y = torch.randn(6, 4), torch.randn(6, 2)
    wrapper = tiny.wrap(model, True, base='SGD', lr=0.1, rho=0.1)
    model.train_step((x, y), wrapper)

    params = list(by_hand.parameters())
    start = [param.detach().clone() for param in params]
    grads = torch.autograd.grad((by_hand.net(x) - y).square().mean(), params)
    norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
    frozen = copy.deepcopy(by_hand)
    with torch.no_grad():
        for param, grad in zip(frozen.parameters(), grads, strict=True):
            param += 0.1 * grad / norm
    grads = torch.autograd.grad((frozen.net(x) - y).square().mean(), list(frozen.parameters()))
    for param, w, grad in zip(model.parameters(), start, grads, strict=True):
        torch.testing.assert_close(param.detach(), w - 0.1 * grad, rtol=1e-5, atol=1e-6)
    for one, other in zip(model.buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_models_with_a_step_of_their_own_are_refused():
    from mmagic.models.editors import SRGAN

    from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin

    for bases, word in (((SAMModelMixin, SRGAN), 'train_step'), ((SAMModelMixin,), 'BaseModel')):
        with refused('Wrong', word):
            type('Wrong', bases, {})


def test_the_check_lets_it_have_sam():
    from mea_plugin.mmagic.checks.optim import check_distributed, check_wrappers

    section = {'type': 'SAMOptimWrapper', 'optimizer': {'type': 'SAM', 'rho': 0.05, 'lr': 1e-4}}
    assert check_wrappers(section, mixed(), tiny.edit_config(), 'run.py')
    with refused('run.py: model_wrapper_cfg'):
        check_distributed(None, mixed(), {}, True, 'run.py')
