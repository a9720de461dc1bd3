"""Two processes train as one, stop together whichever of them is asked to, and go on; one that dies ends the other."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from mea_plugin.core.errors import RunError, Stopped
from mea_plugin.core.launch import leave_process_group
from tests.mmagic import runs
from tests.mmagic.run.test_checkpoints import FullDisk

pytest.importorskip('mmagic')

WRAPPERS = {'EditModel': 'ExtractionDistributedDataParallel'}
SGD = {'type': 'SGD', 'lr': 0.01}


def config(name: str, folder: Path, **options):
    wrapper = {'type': WRAPPERS.get(name, 'MMSeparateDistributedDataParallel'), 'broadcast_buffers': False}
    distributed = {'launcher': 'pytorch', 'model_wrapper_cfg': wrapper, **runs.validation(name, sets=2)}
    return runs.config(name, folder, **{**distributed, **options})


def work(rank: int, folder: str, port: int) -> None:
    import mea_plugin.mmagic  # noqa: F401 - registers

    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2', RANK=str(rank), LOCAL_RANK='0')
    base = Path(folder)
    for name in ('EditModel', 'SRGAN'):
        stopped_and_taken_up(rank, name, base / name)
    runs.LOADED.clear()
    runs.make_runner(config('EditModel', base / 'joint', optimizer=SGD, val_cfg=None, val_dataloader=None,
                            val_evaluator=None)).train()  # fmt: skip
    (base / f'loaded{rank}').write_text(repr(runs.LOADED))
    full_disk(rank, base / 'full')
    one_dies(rank, base)


def stopped_and_taken_up(rank: int, name: str, folder: Path) -> None:
    """Signals strike one rank only: between two iterations, and within the validations of both sets."""
    runs.make_runner(config(name, folder / 'whole')).train()
    asked = [
        (1, runs.signal_at(1)),
        (0, runs.signal_at(2, event='before_val_iter', batch=0)),
        (1, runs.signal_at(4, event='after_val_iter', batch=3)),
        (0, runs.signal_at(5)),
    ]
    for who, hook in asked:
        runner = runs.make_runner(config(name, folder / 'parts', resume=True), *([hook] if who == rank else []))
        with pytest.raises(Stopped) as stopped:
            runner.train()
        assert stopped.value.exit_code == 128 + signal.SIGTERM
    model = runs.make_runner(config(name, folder / 'parts', resume=True)).train()
    torch.save(dict(model.state_dict()), folder / f'rank{rank}.pth')


def full_disk(rank: int, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match='No space left'):
        if rank == 0:
            FullDisk(patch, 0)
        runs.make_runner(config('EditModel', folder)).train()


def one_dies(rank: int, folder: Path) -> None:
    from mmengine.hooks import Hook

    class Die(Hook):
        def after_train_iter(self, runner, **kwargs):
            if rank == 1 and runner.iter == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    runner = runs.make_runner(config('EditModel', folder / 'dies'), Die())
    with pytest.raises(RunError, match='--resume') as error:
        runner.train()
    (folder / 'said').write_text(str(error.value))
    del runner
    leave_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('the wrappers would go to the GPUs')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('spawn')
    processes = [context.Process(target=work, args=(rank, str(tmp_path), port)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    for name in ('EditModel', 'SRGAN'):
        whole, parts = (runs.final_state(tmp_path / name / one) for one in ('whole', 'parts'))
        assert not runs.differences(whole, parts)
        assert {'val/set0/MAE', 'val/set1/MAE'} <= whole['logged'].keys()
        first, second = (torch.load(tmp_path / name / f'rank{rank}.pth', weights_only=True) for rank in range(2))
        assert not runs.differences(first, second)
    alone(tmp_path)
    assert '\n' not in (tmp_path / 'said').read_text()
    assert (tmp_path / 'dies' / 'iter_2.pth').is_file()
    assert not list((tmp_path / 'full').glob('*.pth'))


def alone(folder: Path) -> None:
    """One process with the joint batch sees the same samples and takes the same steps."""
    first, second = (eval((folder / f'loaded{rank}').read_text()) for rank in range(2))
    runs.LOADED.clear()
    options = {'train_dataloader.batch_size': 4, 'optimizer': SGD}
    runs.make_runner(runs.config('EditModel', folder / 'alone', **options)).train()
    steps = [first[2 * one : 2 * one + 2] + second[2 * one : 2 * one + 2] for one in range(6)]
    assert sum(steps, []) == runs.LOADED  # noqa: RUF017
    states = [runs.final_state(folder / one)['state_dict'] for one in ('joint', 'alone')]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-6)
