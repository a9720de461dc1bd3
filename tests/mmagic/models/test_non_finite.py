"""A term or a gradient that is not finite stops the run of any extraction model, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

pytest.importorskip('mmagic')

from tests.helpers import refused
from tests.mmagic import tiny
from tests.mmagic.gan import batches_of, config_of, parts_of, wrap_all

NAN = float('nan')
WEIGHTS = {'cycle_loss_weight': 10.0, 'id_loss_weight': 0.5, 'paired_loss_weight': 1.0}
MODELS = {
    'EditModel': {},
    'SRGAN': {},
    'Pix2Pix': {},
    'CycleGAN': {'loss_config': WEIGHTS},
    'PaperCycleGAN': {'loss_config': WEIGHTS, 'paper_discriminator_step': True},
}


def build(name: str) -> Any:
    return tiny.build(config_of(name.removeprefix('Paper'), hf_loss=tiny.HF, **MODELS[name]))


def trained(name: str, *, sam: bool) -> tuple[Any, Any, dict]:
    """A model after one good step, its wrapper, and the next batch, in which the log counts iteration 7."""
    from mmengine.logging import MessageHub

    model = build(name)
    wrapper, batches = wrap_all(model, sam), batches_of(name, 2)
    tiny.train(model, wrapper, batches[:1])
    MessageHub.get_current_instance().update_info('iter', 6)
    return model, wrapper, batches[1]


def weight(*path: str) -> Callable[[Any], None]:
    """Make the weight of a term NaN."""

    def spoil(model: Any) -> None:
        *owners, last = path
        for owner in owners:
            model = getattr(model, owner)
        if isinstance(model, dict):
            model[last] = NAN
        else:
            assert hasattr(model, last)
            setattr(model, last, NAN)

    return spoil


def judgement(*, own_turn: bool, first: int = 0) -> Callable[[Any], None]:
    """Make what the critics say NaN: in their own turn or in the generators', from a call of the turn on."""

    def spoil(model: Any) -> None:
        critic = parts_of(model)['critic']
        calls = []

        def hook(network, _, output):
            if next(network.parameters()).requires_grad != own_turn:
                return output
            calls.append(1)
            return output * NAN if len(calls) > first else output

        for network in critic.values() if isinstance(critic, nn.ModuleDict) else [critic]:
            network.register_forward_hook(hook)

    return spoil


CYCLE_TERMS = {
    'cycle_loss': ('generator', weight('loss_config', 'cycle_loss_weight')),
    'id_loss': ('generator', weight('loss_config', 'id_loss_weight')),
    'loss_paired_response': ('generator', weight('loss_config', 'paired_loss_weight')),
    'loss_hf_response': ('generator', weight('hf_loss', 'loss_weight')),
    'loss_gan_g_response': ('generator', judgement(own_turn=False)),
    'loss_gan_g_query': ('generator', judgement(own_turn=False, first=1)),
    'loss_gan_d_response': ('critic', judgement(own_turn=True)),
    'loss_gan_d_query': ('critic', judgement(own_turn=True, first=2)),
}
TERMS = {
    'EditModel': {
        'loss_pix': ('generator', weight('pixel_loss', 'loss_weight')),
        'loss_hf': ('generator', weight('hf_loss', 'loss_weight')),
    },
    'SRGAN': {
        'loss_pix': ('generator', weight('pixel_loss', 'loss_weight')),
        'loss_hf': ('generator', weight('hf_loss', 'loss_weight')),
        'loss_gan': ('generator', judgement(own_turn=False)),
        'loss_d_real': ('critic', judgement(own_turn=True)),
        'loss_d_fake': ('critic', judgement(own_turn=True, first=1)),
    },
    'Pix2Pix': {
        'loss_pixel': ('generator', weight('pixel_loss_weight')),
        'loss_hf': ('generator', weight('hf_loss', 'loss_weight')),
        'loss_gan_g': ('generator', judgement(own_turn=False)),
        'loss_gan_d_fake': ('critic', judgement(own_turn=True)),
        'loss_gan_d_real': ('critic', judgement(own_turn=True, first=1)),
    },
    'CycleGAN': CYCLE_TERMS,
    'PaperCycleGAN': CYCLE_TERMS,
}
CASES = [(name, term) for name, terms in TERMS.items() for term in terms]


@pytest.mark.parametrize('sam', [False, True])
@pytest.mark.parametrize(('name', 'term'), CASES)
def test_a_term(name, term, sam):
    model, wrapper, batch = trained(name, sam=sam)
    part, spoil = TERMS[name][term]
    spoil(model)
    network = parts_of(model)[part]
    before = tiny.state(network)
    with refused('iteration 7', term, 'nan'):
        model.train_step(batch, wrapper)
    if sam:  # which looks at the gradient before it steps
        weights = dict(network.named_parameters())
        assert all(weights[key].equal(before[key]) for key in weights)


@pytest.mark.parametrize(('index', 'which'), [(1, '(at w)'), (2, 'step()')])
@pytest.mark.parametrize(
    ('name', 'part'), [(name, part) for name in MODELS for part in ('generator', 'critic')[: 1 + (name != 'EditModel')]]
)
def test_a_gradient_though_every_term_is_finite(name, part, index, which):
    model, wrapper, batch = trained(name, sam=True)
    network = parts_of(model)[part]
    before = {key: param.detach().clone() for key, param in network.named_parameters()}
    passes = []

    def spoil(grad):
        passes.append(1)
        return grad * NAN if len(passes) == index else grad

    next(network.parameters()).register_hook(spoil)
    with refused('iteration 7', which):
        model.train_step(batch, wrapper)
    assert len(passes) == index
    assert all(param.equal(before[key]) for key, param in network.named_parameters())
