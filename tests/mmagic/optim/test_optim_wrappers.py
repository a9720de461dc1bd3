"""The wrappers' second pass: equations, precision, accumulation, clipping, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mea_plugin.optim import SAM, NonFiniteGradientError
from tests.helpers import refused
from tests.mmagic.scaler import FakeScaler

pytest.importorskip('mmagic')

RHO, LR = 0.1, 0.05


def problem(dtype=torch.float64):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)
    return net, torch.randn(6, 4, dtype=dtype), torch.randn(6, 2, dtype=dtype)


def loss_on(net, x, y):
    return (net(x) - y).square().mean()


def wrapper_for(net, *, amp=False, rho=RHO, base='SGD', **kwargs):
    from mea_plugin.mmagic.optim.wrappers import SAMAmpOptimWrapper, SAMOptimWrapper

    optimizer = SAM(net.parameters(), base, rho=rho, lr=LR)
    return (SAMAmpOptimWrapper if amp else SAMOptimWrapper)(optimizer=optimizer, **kwargs)


def by_hand(net, losses, *, clip=None, steps=1):
    """SAM with plain gradient descent, written from the equation; the mean of the losses is the objective."""
    params = list(net.parameters())
    for _ in range(steps):
        grads = torch.autograd.grad(sum(loss() for loss in losses) / len(losses), params)
        norm = torch.sqrt(sum(g.square().sum() for g in grads))
        start = [p.detach().clone() for p in params]
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p += RHO * g / norm
        grads = torch.autograd.grad(sum(loss() for loss in losses) / len(losses), params)
        norm = torch.sqrt(sum(g.square().sum() for g in grads))
        factor = min(1.0, clip / (norm.item() + 1e-6)) if clip else 1.0
        with torch.no_grad():
            for p, w, g in zip(params, start, grads, strict=True):
                p.copy_(w - LR * factor * g)
    return [p.detach().clone() for p in params]


def run(wrapper, losses, *, steps=1):
    for _ in range(steps):
        for loss in losses:
            with wrapper.optim_context(nn.Identity()):
                value = loss()

            def again(loss=loss):
                with wrapper.optim_context(nn.Identity()):
                    return loss()

            wrapper.update_params(value, again=again)


@pytest.mark.parametrize('clip', [None, 0.05])
@pytest.mark.parametrize('batches', [1, 2, 3])
def test_is_the_equation(batches, clip):
    net, x, y = problem()
    losses = [lambda i=i: loss_on(net, x[i::batches], y[i::batches]) for i in range(batches)]
    before = [p.detach().clone() for p in net.parameters()]
    expected = by_hand(net, losses, clip=clip, steps=3)
    for p, w in zip(net.parameters(), before, strict=True):
        p.data.copy_(w)
    options = {'clip_grad': {'max_norm': clip}} if clip else {}
    run(wrapper_for(net, accumulative_counts=batches, **options), losses, steps=3)
    for p, w in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.data, w, rtol=1e-9, atol=1e-12)


def test_two_small_batches_are_one_large():
    net, x, y = problem()
    other, _, _ = problem()
    run(wrapper_for(net), [lambda: loss_on(net, x, y)], steps=4)
    halves = [lambda: loss_on(other, x[:3], y[:3]), lambda: loss_on(other, x[3:], y[3:])]
    run(wrapper_for(other, accumulative_counts=2), halves, steps=4)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_a_last_incomplete_window_steps_too():
    """MMEngine divides the losses of the last window by the batches that are left."""
    net, x, y = problem()
    wrapper = wrapper_for(net, accumulative_counts=2)
    wrapper.initialize_count_status(net, 0, 3)
    losses = [lambda i=i: loss_on(net, x[i::3], y[i::3]) for i in range(3)]
    run(wrapper, losses[:2])
    between = [p.detach().clone() for p in net.parameters()]
    run(wrapper, losses[2:])
    moved = [p.detach().clone() for p in net.parameters()]
    for p, w in zip(net.parameters(), between, strict=True):
        p.data.copy_(w)
    for p, w in zip(by_hand(net, losses[2:]), moved, strict=True):
        torch.testing.assert_close(p, w, rtol=1e-9, atol=1e-12)


def test_gradients_are_shared_between_ranks_only_at_the_end_of_each_round():
    net, x, y = problem()
    wrapper = wrapper_for(net, accumulative_counts=2)
    asked = []

    class Distributed(nn.Identity):
        def no_sync(self):
            asked[-1] = 'kept'
            return torch.enable_grad()

    model = Distributed()

    def loss():
        asked.append('shared')
        with wrapper.optim_context(model):
            return loss_on(net, x, y)

    for _ in range(2):
        wrapper.update_params(loss(), again=loss)
    assert asked == ['kept', 'shared', 'kept', 'shared']


@pytest.mark.parametrize('clip', [None, 0.05])
@pytest.mark.parametrize('batches', [1, 2])
def test_with_a_scaler_as_without(batches, clip):
    net, x, y = problem()
    plain, _, _ = problem()
    options = {'clip_grad': {'max_norm': clip}} if clip else {}
    run(wrapper_for(plain, **options), [lambda: loss_on(plain, x, y)], steps=2)
    wrapper = wrapper_for(net, amp=True, dtype='bfloat16', accumulative_counts=batches, **options)
    wrapper.cast_dtype, wrapper.loss_scaler = torch.bfloat16, FakeScaler()
    losses = [lambda i=i: loss_on(net, x[i::batches], y[i::batches]) for i in range(batches)]
    for _ in range(2):
        for loss in losses:
            wrapper.update_params(loss(), again=loss)
    assert wrapper.loss_scaler.calls == [*['scale'] * 2 * batches, 'unscale', 'step', 'update'] * 2
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('overflows', ['first', 'second'])
def test_under_a_scaler_an_overflow_skips_the_step(overflows):
    net, x, y = problem()
    before = [p.detach().clone() for p in net.parameters()]
    wrapper = wrapper_for(net, amp=True, dtype='bfloat16', base='Adam')
    wrapper.loss_scaler = scaler = FakeScaler()
    inf = torch.tensor(float('inf'))
    passes = []

    def loss():
        passes.append(1)
        poisoned = len(passes) == (1 if overflows == 'first' else 2)
        return loss_on(net, x, y) * (inf if poisoned else 1)

    wrapper.update_params(loss(), again=loss)
    assert scaler.calls[-2:] == ['skip', 'update']
    assert scaler.value == 2.0**15
    assert len(passes) == (1 if overflows == 'first' else 2)
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))
    assert not wrapper.optimizer.climbed
    wrapper.update_params(loss(), again=loss)  # and the next step goes on
    assert scaler.calls[-2:] == ['step', 'update']
    assert not any(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))


def test_bfloat16_on_a_cpu():
    net, x, y = problem(torch.float32)
    wrapper = wrapper_for(net, amp=True, dtype='bfloat16')
    seen = []

    def loss():
        output = net(x)
        seen.append(output.dtype)
        return (output.float() - y).square().mean()

    start = loss_on(net, x, y).item()
    run(wrapper, [loss], steps=20)
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 40
    assert loss_on(net, x, y).item() < 0.9 * start
    assert not wrapper.loss_scaler.is_enabled()


def test_bfloat16_is_the_equation_too():
    net, x, y = problem(torch.float32)
    other, _, _ = problem(torch.float32)

    def loss():
        with torch.autocast('cpu', torch.bfloat16):
            output = other(x)
        return (output.float() - y).square().mean()

    expected = by_hand(other, [loss], steps=2)
    run(
        wrapper_for(net, amp=True, dtype='bfloat16'),
        [lambda: (net(x).float() - y).square().mean()],
        steps=2,
    )
    for p, w in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.data, w, rtol=2e-2, atol=2e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 with a scaler needs a GPU')
def test_float16_on_a_gpu():
    net, x, y = problem(torch.float32)
    net, x, y = net.cuda(), x.cuda(), y.cuda()
    wrapper = wrapper_for(net, amp=True, dtype='float16')
    start = loss_on(net, x, y).item()
    run(wrapper, [lambda: (net(x).float() - y).square().mean()], steps=30)
    assert loss_on(net, x, y).item() < 0.9 * start
    assert wrapper.loss_scaler.get_scale() > 1


def test_without_a_radius_there_is_one_pass():
    net, x, y = problem()
    passes = []

    def loss():
        passes.append(1)
        return loss_on(net, x, y)

    run(wrapper_for(net, rho=0.0), [loss], steps=3)
    assert len(passes) == 3


def test_a_failure_in_the_second_pass_leaves_the_weights():
    net, x, y = problem()
    before = [p.detach().clone() for p in net.parameters()]
    wrapper = wrapper_for(net)

    def again():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wrapper.update_params(loss_on(net, x, y), again=again)
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))
    run(wrapper, [lambda: loss_on(net, x, y)])  # and it can be used again, without the batch that failed
    assert not any(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))


def test_without_a_scaler_a_non_finite_gradient_is_an_error():
    net, x, y = problem()
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(NonFiniteGradientError):
        run(wrapper_for(net), [lambda: loss_on(net, x, y) * float('nan')])
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))


def test_the_state_goes_on_where_it_was():
    net, x, y = problem()
    straight, _, _ = problem()
    loss = {id(n): (lambda n=n: loss_on(n, x, y)) for n in (net, straight)}
    run(wrapper_for(straight, base='Adam'), [loss[id(straight)]], steps=4)
    first = wrapper_for(net, base='Adam')
    run(first, [loss[id(net)]], steps=2)
    second = wrapper_for(net, base='Adam')
    second.load_state_dict(first.state_dict())
    run(second, [loss[id(net)]], steps=2)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), straight.parameters(), strict=True))


class TestRefusals:
    def test_sam_in_a_plain_wrapper(self):
        from mmengine.optim import OptimWrapper

        net, _, _ = problem()
        with refused('optim_wrapper.type', 'OptimWrapper', 'SAM', do='SAMOptimWrapper'):
            OptimWrapper(SAM(net.parameters(), lr=LR))

    def test_sam_in_a_plain_wrapper_from_a_config(self):
        from mmengine.optim import build_optim_wrapper

        net, _, _ = problem()
        config = {'type': 'OptimWrapper', 'optimizer': {'type': 'SAM', 'lr': LR}}
        with refused('optim_wrapper.type', 'OptimWrapper', 'SAM', do='SAMOptimWrapper'):
            build_optim_wrapper(net, config)

    @pytest.mark.parametrize('amp', [False, True])
    def test_another_optimizer_in_a_sam_wrapper(self, amp):
        from mea_plugin.mmagic.optim.wrappers import SAMAmpOptimWrapper, SAMOptimWrapper

        net, _, _ = problem()
        cls = SAMAmpOptimWrapper if amp else SAMOptimWrapper
        with refused('optim_wrapper.optimizer.type', cls.__name__, 'Adam', do="type='SAM'"):
            cls(optimizer=torch.optim.Adam(net.parameters()), **({'dtype': 'bfloat16'} if amp else {}))

    @pytest.mark.parametrize('call', ['update_params', 'backward', 'step'])
    def test_one_pass(self, call):
        net, x, y = problem()
        before = [p.detach().clone() for p in net.parameters()]
        wrapper = wrapper_for(net)
        arguments = [] if call == 'step' else [loss_on(net, x, y)]
        with refused('optim_wrapper', 'SAMOptimWrapper', f'{call}(', do='SAMModelMixin'):
            getattr(wrapper, call)(*arguments)
        assert all(torch.equal(p, w) for p, w in zip(net.parameters(), before, strict=True))

    def test_float16_without_a_gpu(self):
        if torch.cuda.is_available():
            pytest.skip('there is a GPU')
        net, _, _ = problem()
        with pytest.raises(AssertionError, match='gpu'):
            wrapper_for(net, amp=True, dtype='float16')
