"""Speed options change how a network runs, not what it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mea_plugin.training.measures import Throughput, peak_memory
from mea_plugin.training.speed import compile_network, to_channels_last


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3))


def test_channels_last_keeps_values_and_outputs():
    plain = network()
    laid = to_channels_last(copy.deepcopy(plain))
    assert laid[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert laid.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, 9, 10)
    torch.testing.assert_close(laid(x), plain(x))
    assert laid(x).is_contiguous(memory_format=torch.channels_last)


def test_compiled_in_training_plain_in_evaluation():
    seen = []

    def backend(module, inputs):
        seen.append(inputs)
        return module.forward

    plain = network()
    compiled = compile_network(copy.deepcopy(plain), backend=backend)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert not seen
    x = torch.rand(2, 3, 9, 10)
    torch.testing.assert_close(compiled.eval()(x), plain.eval()(x))
    assert not seen
    torch.testing.assert_close(compiled.train()(x), plain.train()(x))
    assert len(seen) == 1
    compiled(x)
    assert len(seen) == 1


def test_throughput_counts_from_the_last_reading(monkeypatch):
    now = iter([0.0, 2.0, 2.0, 6.0, 6.0])
    monkeypatch.setattr('time.perf_counter', lambda: next(now))
    throughput = Throughput(8)
    assert throughput.read(10) == pytest.approx(40)
    assert throughput.read(20) == pytest.approx(20)


def test_peak_memory_is_the_process_s_on_a_cpu():
    before = peak_memory(torch.device('cpu'))
    assert before > 10
    block = torch.ones(1 << 26)  # 256 MiB
    assert peak_memory(torch.device('cpu')) >= before
    del block
