"""Both passes see the same dropout masks, and buffers move once per step."""

from __future__ import annotations

import copy

import pytest
import torch

from mea_plugin.optim import SAM, RandomState, frozen_buffers, repeatable


def passes(net, x, y, optimizer, outputs):
    def closure():
        optimizer.zero_grad()
        out = net(x)
        outputs.append(out.detach())
        loss = (out - y).square().mean()
        loss.backward()
        return loss

    return closure


def buffers_of(net):
    return {name: buffer.clone() for name, buffer in net.named_buffers()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize('wrap', [lambda net: net, torch.nn.DataParallel], ids=['bare', 'wrapped'])
def test_buffers_move_once_per_step(network, wrap):
    net, x, y = network()
    once = copy.deepcopy(net)
    start = buffers_of(net)
    net, once = wrap(net), wrap(once)
    torch.manual_seed(1)
    once(x)
    torch.manual_seed(1)
    optimizer = SAM(net.parameters(), lr=0.01)
    optimizer.step(repeatable(passes(net, x, y, optimizer, []), net))
    after = buffers_of(net)
    assert_same(after, buffers_of(once))
    moved = {name for name, old in start.items() for key in after if key.endswith(name) and (after[key] != old).any()}
    assert {'1.running_mean', '1.running_var', '1.num_batches_tracked', '4.weight_u'} <= moved
    assert any('parametrizations' in name for name in moved)


def test_left_alone_they_move_twice(network):
    """The option is one: without it, nothing is held back."""
    net, x, y = network()
    optimizer = SAM(net.parameters(), lr=0.01)
    optimizer.step(passes(net, x, y, optimizer, []))
    assert net[1].num_batches_tracked == 2
    optimizer.step(repeatable(passes(net, x, y, optimizer, []), net, buffers=False))
    assert net[1].num_batches_tracked == 4


def test_dropout_masks_repeat_and_the_stream_goes_on_as_after_one_pass():
    net = torch.nn.Dropout(0.5)
    x = torch.ones(400)
    weight = torch.nn.Parameter(torch.ones(400))
    optimizer = SAM([weight], 'SGD', lr=0.0)
    outputs = []

    def closure():
        optimizer.zero_grad()
        out = net(x * weight)
        outputs.append(out.detach() != 0)
        out.sum().backward()

    torch.manual_seed(3)
    net(x)
    after_one = torch.rand(5)
    torch.manual_seed(3)
    optimizer.step(repeatable(closure, net))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(torch.rand(5), after_one)
    optimizer.step(repeatable(closure, net, randomness=False))
    assert not torch.equal(outputs[2], outputs[3])


def test_it_suits_an_optimizer_that_calls_once(network):
    results = []
    for wrap in (False, True):
        net, x, y = network()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(2):
            closure = passes(net, x, y, optimizer, [])
            optimizer.step(repeatable(closure, net) if wrap else closure)
        results.append(net.state_dict())
    assert_same(*results)


def test_a_first_call_that_fails_is_no_first_call(network):
    net, x, y = network()
    optimizer = SAM(net.parameters(), lr=0.01)
    inner = passes(net, x, y, optimizer, [])
    fail = True

    def closure():
        if fail:
            raise KeyboardInterrupt
        return inner()

    again = repeatable(closure, net)
    with pytest.raises(KeyboardInterrupt):
        again()
    fail = False
    again()
    assert net[1].num_batches_tracked == 1


def test_randomness_and_buffers_return_after_an_error(network):
    net, x, _ = network()
    before, state = buffers_of(net), RandomState(net)
    torch.rand(3)
    stream = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), frozen_buffers(net), state.replay():
        net(x)
        raise KeyboardInterrupt
    assert_same(buffers_of(net), before)
    assert torch.equal(torch.get_rng_state(), stream)


def test_assigned_and_removed_buffers_return():
    net = torch.nn.Module()
    net.register_buffer('counter', torch.tensor(3))
    net.register_buffer('absent', None)
    net.register_buffer('shared', torch.ones(2))
    net.child = torch.nn.Module()
    net.child.register_buffer('shared', net.shared)
    original = net.counter
    with frozen_buffers(net, net.child):
        net.counter = net.counter + 1
        original.add_(5)
        net.shared.zero_()
        net.child.shared = None
    assert net.counter is original
    assert net.counter == 3
    assert net.child.shared is net.shared
    assert torch.equal(net.shared, torch.ones(2))


def test_a_graph_that_holds_a_buffer_can_still_go_backward():
    net = torch.nn.Module()
    net.register_buffer('factor', torch.full((2,), 3.0))
    weight = torch.ones(2, requires_grad=True)
    loss = (weight * net.factor).sum()
    with frozen_buffers(net):
        net.factor.data.fill_(9.0)
    loss.backward()
    assert torch.equal(weight.grad, torch.full((2,), 3.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cuda_masks_repeat(network):
    net, x, y = network()
    net, x, y = net.cuda(), x.cuda(), y.cuda()
    optimizer = SAM(net.parameters(), 'SGD', rho=0, lr=0.0)
    outputs = []
    closure = repeatable(passes(net, x, y, optimizer, outputs), net)
    closure()
    stream = torch.cuda.get_rng_state()
    closure()
    assert torch.equal(torch.cuda.get_rng_state(), stream)
    torch.testing.assert_close(outputs[0], outputs[1])
