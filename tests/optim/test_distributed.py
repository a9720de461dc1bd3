"""Under DistributedDataParallel two processes take the step that one process takes on both their batches."""

from __future__ import annotations

import torch
from torch import distributed, multiprocessing, nn

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
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    net, (x, y) = build()
    train(nn.parallel.DistributedDataParallel(net), x[rank::2], y[rank::2])
    torch.save(net.state_dict(), f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


def test_two_processes_are_one(tmp_path):
    net, (x, y) = build()
    train(net, x, y)
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for name, value in torch.load(tmp_path / f'{rank}.pth', weights_only=True).items():
            torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-10, atol=1e-12)
