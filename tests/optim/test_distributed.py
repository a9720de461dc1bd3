"""Under DistributedDataParallel two processes take the step that one process takes on both their batches."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing, nn

from mea_plugin.core.launch import leave_process_group
from mea_plugin.optim import SAM, LookSAM, MomentumSAM, repeatable

BUILDS = {
    'SAM': lambda params: SAM(params, rho=0.2, lr=0.01),
    'LookSAM': lambda params: LookSAM(params, rho=0.2, every=2, lr=0.01),
    'MomentumSAM': lambda params: MomentumSAM(params, rho=0.2, lr=0.01),
}


def build():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    data = torch.randn(8, 6, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    return net, data


def train(kind, net, x, y):
    optimizer = BUILDS[kind](net.parameters())

    def closure():
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(repeatable(closure, net))


def work(rank, folder):
    meeting = f'file://{folder}/meet'
    distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    try:
        run(rank, folder)
    finally:
        leave_process_group()


def run(rank, folder):
    for kind in BUILDS:
        net, (x, y) = build()
        train(kind, nn.parallel.DistributedDataParallel(net), x[rank::2], y[rank::2])
        torch.save(net.state_dict(), f'{folder}/{kind}{rank}.pth')


@pytest.mark.every_environment
@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    other = multiprocessing.get_context('spawn').Process(target=work, args=(1, str(tmp_path)))
    other.start()
    work(0, str(tmp_path))  # here, because starting a process costs more than the rest of the test
    other.join(60)
    assert other.exitcode == 0
    for kind in BUILDS:
        net, (x, y) = build()
        train(kind, net, x, y)
        first, second = (torch.load(tmp_path / f'{kind}{rank}.pth', weights_only=True) for rank in range(2))
        for name, value in net.state_dict().items():
            torch.testing.assert_close(first[name], value, rtol=1e-10, atol=1e-12)
            assert torch.equal(first[name], second[name]), f'{kind}: the ranks differ'
