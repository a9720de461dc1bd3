"""Under DistributedDataParallel two processes take the step that one process takes on both their batches."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing, nn

from mea_plugin.launch import leave_process_group
from mea_plugin.optim import SAM, repeatable


def build():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    data = torch.randn(8, 6, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    return net, data


def train(net, x, y):
    optimizer = SAM(net.parameters(), rho=0.2, lr=0.01)

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
    net, (x, y) = build()
    train(nn.parallel.DistributedDataParallel(net), x[rank::2], y[rank::2])
    torch.save(net.state_dict(), f'{folder}/{rank}.pth')


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    net, (x, y) = build()
    train(net, x, y)
    other = multiprocessing.get_context('spawn').Process(target=work, args=(1, str(tmp_path)))
    other.start()
    work(0, str(tmp_path))  # here, because starting a process costs more than the rest of the test
    other.join(60)
    assert other.exitcode == 0
    for rank in range(2):
        for name, value in torch.load(tmp_path / f'{rank}.pth', weights_only=True).items():
            torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-10, atol=1e-12)
