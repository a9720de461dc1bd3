"""Under each model's distributed wrapper two processes take the step that one takes on both their batches."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing

from mea_plugin.core.launch import leave_process_group
from tests.mmagic import tiny

pytest.importorskip('mmagic')

NAMES = ('EditModel', 'SRGAN', 'Pix2Pix', 'CycleGAN')


def build(name):
    """In double precision: sums in another order then stay close over the steps."""
    options = {'hf_loss': tiny.HF}
    if name == 'EditModel':
        config = tiny.edit_config(**options)
    elif name == 'SRGAN':
        config = tiny.srgan_config(**options)
    else:
        pool = {'buffer_size': 0} if name == 'CycleGAN' else {}
        config = tiny.translation_config(f'Extraction{name}', generator=tiny.resnet(dropout=False), **options, **pool)
    model = tiny.build(config, double=True)
    tiny.as_double(model)
    return model


def batches(name):
    make = tiny.edit_batch if name in ('EditModel', 'SRGAN') else tiny.translation_batch
    return [make(seed, count=1) for seed in range(4)]


def wrappers(name, model, sam, **kwargs):
    options = {'base': 'SGD', 'lr': 0.01, **kwargs}
    return tiny.wrap(model, sam, **options) if name == 'EditModel' else tiny.wrap_gan(model, sam, sam, **options)


def distribute(name, model):
    from mmengine.model import MMSeparateDistributedDataParallel

    from mea_plugin.mmagic.optim.model_wrapper import ExtractionDistributedDataParallel

    wrap = ExtractionDistributedDataParallel if name == 'EditModel' else MMSeparateDistributedDataParallel
    return wrap(model, broadcast_buffers=False, device_ids=[0])  # as MMEngine's runner does, on a CPU too


def work(rank, folder):
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')
    meeting = f'file://{folder}/meet'
    distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    try:
        for name in NAMES:
            for sam in (False, True):
                for window in (1, 2):
                    run(rank, folder, name, sam, window)
    finally:
        leave_process_group()


def run(rank, folder, name, sam, window):
    model = build(name)
    outer = distribute(name, model)
    own = batches(name)[rank::2]
    tiny.train(outer, wrappers(name, model, sam, accumulative_counts=window), own)
    state = {key.replace('.module.', '.'): value for key, value in model.state_dict().items()}
    torch.save(state, f'{folder}/{name}{sam}{window}{rank}.pth')


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('the wrappers would go to the GPUs')
    context = multiprocessing.get_context('spawn')
    processes = [context.Process(target=work, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    for process in processes:
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    for name in NAMES:
        for sam in (False, True):
            for window in (1, 2):
                model = build(name)
                pairs = [tiny.joined(batches(name)[index : index + 2]) for index in (0, 2)]
                tiny.train(model, wrappers(name, model, sam, accumulative_counts=window), pairs)
                first, second = (
                    torch.load(tmp_path / f'{name}{sam}{window}{rank}.pth', weights_only=True) for rank in range(2)
                )
                assert tiny.same(first, second), f'{name}, SAM {sam}, {window}: the ranks differ'
                torch.testing.assert_close(first, tiny.state(model), rtol=1e-6, atol=1e-9)
