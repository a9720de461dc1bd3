"""A rank that goes silent ends the others; one that ends in order does not."""

from __future__ import annotations

import os
import signal
import socket
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from torch import distributed, multiprocessing

from mea_plugin.core.launch import leave_process_group
from mea_plugin.training.heartbeat import Heartbeat
from mea_plugin.training.ranks import Ranks, is_lost_rank

ADVICE = 'Run it again.'


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def work(rank, port, how, messages):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2')
    distributed.init_process_group('gloo', timeout=timedelta(seconds=60))
    ranks = Ranks()
    assert ranks.any(rank == 1) is True
    assert ranks.any(False) is False
    assert ranks.gather(rank * 10) == [0, 10]
    assert ranks.share(rank + 7) == 7
    heard = []
    with Heartbeat(ranks, lambda: ADVICE, interval=0.1, silence=1.5, end=heard.append):
        if how == 'stopped' and rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)  # as a machine that is cut off: no connection is closed
        deadline = time.monotonic() + (20 if how == 'stopped' else 3)
        while not heard and time.monotonic() < deadline:
            time.sleep(0.05)
    messages.put((rank, heard))
    if how == 'orderly':
        leave_process_group()
    else:
        messages.close()
        messages.join_thread()
        os._exit(0)


@pytest.mark.parametrize('how', ['orderly', 'stopped'])
def test_silence(how):
    context = multiprocessing.get_context('spawn')
    messages = context.Queue()
    port = free_port()
    processes = [context.Process(target=work, args=(rank, port, how, messages)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        found = dict(messages.get(timeout=90) for _ in range(2 if how == 'orderly' else 1))
    finally:
        for process in processes:
            process.join(0.1 if how == 'stopped' else 30)
            if process.is_alive():
                process.kill()
    if how == 'orderly':
        assert found == {0: [], 1: []}
    else:
        assert found[0] == [f'rank 1 has not been heard of for 2 seconds. {ADVICE}']


def test_a_store_that_does_not_answer():
    heard = []
    ranks = SimpleNamespace(rank=1, world=2)
    heartbeat = Heartbeat(ranks, lambda: ADVICE, interval=0.01, silence=0.05, end=heard.append)
    heartbeat._store = SimpleNamespace(set=unreachable)
    heartbeat._run()
    assert heard == [f'the first process, which keeps the run together, does not answer (Broken pipe). {ADVICE}']


def unreachable(*args):
    raise RuntimeError('Broken pipe')


def test_alone_nothing_is_done():
    ranks = Ranks()
    with Heartbeat(ranks, lambda: ADVICE) as heartbeat:
        assert heartbeat._thread is None
    assert (ranks.any(True), ranks.gather(3), ranks.share(4), ranks.is_first) == (True, [3], 4, True)


@pytest.mark.parametrize(
    ('error', 'lost'),
    [
        (RuntimeError('[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234'), True),
        (RuntimeError('NCCL communicator was aborted on rank 0.'), True),
        (RuntimeError('The size of tensor a (3) must match the size of tensor b (4)'), False),
        (RuntimeError('DataLoader worker (pid 3) exited unexpectedly: socket'), False),
        (ValueError('connection closed'), False),
    ],
)
def test_what_a_lost_rank_looks_like(error, lost):
    assert is_lost_rank(error) is lost
