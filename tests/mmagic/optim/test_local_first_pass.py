"""m-SAM: each rank climbs by its own gradients and exchanges nothing until the second pass."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
import torch
import torch.nn.functional as F
from torch import distributed, multiprocessing

from mea_plugin.core.launch import leave_process_group
from tests.mmagic import tiny
from tests.mmagic.gan import LR, RHO, networks_of, normalised
from tests.mmagic.scaler import FakeScaler

pytest.importorskip('mmagic')

STEPS, EVERY = 3, 2
CASES = [('EditModel', 1), ('EditModel', 2), ('Pix2Pix', 1), ('Pix2Pix', 2)]


def build(name):
    """In double precision, without statistics and dropout."""
    if name == 'EditModel':
        config = tiny.edit_config()
    else:
        config = tiny.translation_config('ExtractionPix2Pix', generator=tiny.resnet(dropout=False))
    model = tiny.build(config, double=True)
    tiny.as_double(model)
    return model


def batches_of(name, rank, window):
    make = tiny.edit_batch if name == 'EditModel' else tiny.translation_batch
    return [make(seed, count=1) for seed in range(rank, 2 * STEPS * window, 2)]


def wrap(name, model, window, **kwargs):
    from mmengine.optim import OptimWrapperDict

    options = {'base': 'SGD', 'lr': LR, 'rho': RHO, 'own': {'every': EVERY, 'first_pass': 'local'}}
    parts = [model] if name == 'EditModel' else networks_of(model)
    wrappers = [tiny.wrap(part, True, accumulative_counts=window, **options, **kwargs) for part in parts]
    names = ('generators', 'discriminators')
    return wrappers[0] if name == 'EditModel' else OptimWrapperDict(**dict(zip(names, wrappers, strict=True)))


def distribute(name, model):
    from mmengine.model import MMSeparateDistributedDataParallel

    from mea_plugin.mmagic.optim.model_wrapper import ExtractionDistributedDataParallel

    kind = ExtractionDistributedDataParallel if name == 'EditModel' else MMSeparateDistributedDataParallel
    return kind(model, broadcast_buffers=False, device_ids=[0])


def exchanges(step, optimizers):
    """What was exchanged between ranks: a list per step of an optimizer, before and after its way up."""
    for optimizer in optimizers:
        for name in ('climb', 'step'):
            method = getattr(optimizer, name)

            def marked(*args, method=method, name=name, **kwargs):
                with torch.profiler.record_function(f'mark {name}'):
                    return method(*args, **kwargs)

            setattr(optimizer, name, marked)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    events = sorted((event.time_range.start, event.name) for event in profile.events())
    return [name for _, name in events if name.startswith(('c10d', 'mark'))]


def run(rank, folder, name, window):
    model = build(name)
    outer, wrapper = distribute(name, model), wrap(name, model, window)
    own = batches_of(name, rank, window)
    parts = getattr(wrapper, 'optim_wrappers', {'': wrapper}).values()
    tiny.train(outer, wrapper, own[:-window])  # of steps with a second pass the last is looked at
    seen = exchanges(lambda: tiny.train(outer, wrapper, own[-window:]), [part.optimizer for part in parts])
    state = {key.replace('.module.', '.'): value for key, value in model.state_dict().items()}
    torch.save([state, seen], f'{folder}/{name}{window}{rank}.pth')


def run_overflow(rank, folder):
    """The first pass of rank 1 overflows under a scaler: rank 0 must not wait for it in vain."""
    model = build('EditModel')
    outer = distribute('EditModel', model)
    wrapper = wrap('EditModel', model, 1, dtype='bfloat16')
    wrapper.loss_scaler = FakeScaler()  # autocast leaves float64 alone
    calls = []

    def overflow(grad):
        calls.append(1)
        return torch.full_like(grad, float('inf')) if rank == 1 and len(calls) == 1 else grad

    next(model.parameters()).register_hook(overflow)
    tiny.train(outer, wrapper, batches_of('EditModel', rank, 1)[:1])
    torch.save([model.state_dict(), len(calls)], f'{folder}/overflow{rank}.pth')


def work(rank, folder):
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')
    meeting = f'file://{folder}/meet'
    distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    try:
        for case in CASES:
            run(rank, folder, *case)
        run_overflow(rank, folder)
    finally:
        leave_process_group()


def local_step(network, losses, *, second, overflows=()):
    """By hand: each rank's own way up, the mean of the gradients found there, one step of plain descent."""
    params = list(network.parameters())
    start = [param.detach().clone() for param in params]
    mean = [torch.zeros_like(param) for param in params]
    for rank, loss in enumerate(losses):
        grads = torch.autograd.grad(loss(), params)
        if second and rank not in overflows:
            norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
            with torch.no_grad():
                for param, grad in zip(params, grads, strict=True):
                    param += RHO * grad / norm
            grads = torch.autograd.grad(loss(), params)
        with torch.no_grad():
            for total, grad, param, w in zip(mean, grads, params, start, strict=True):
                total += grad / len(losses)
                param.copy_(w)
    with torch.no_grad():
        for param, grad in zip(params, mean, strict=True):
            param -= LR * grad


def edit_losses(model, batches):
    """A rank's loss on each of its micro-batches, averaged."""

    def loss():
        values = []
        for batch in batches:
            query = torch.stack(batch['inputs']).double() / 255
            target = torch.stack([sample.gt_img for sample in batch['data_samples']]).double() / 255
            values.append((model.generator(query) - target).abs().mean())
        return sum(values) / len(values)

    return loss


def pix2pix_losses(model, batches):
    """A rank's losses of critic and generator; the critic's are on fakes made now."""
    generator, critic = model.generators['response'], model.discriminators['response']
    bce = F.binary_cross_entropy_with_logits
    images = [normalised(batch) for batch in batches]
    fakes = [generator(each['img_query']).detach() for each in images]

    def critics_loss():
        total = 0.0
        for each, fake in zip(images, fakes, strict=True):
            made = critic(torch.cat([each['img_query'], fake], 1))
            real = critic(torch.cat([each['img_query'], each['img_response']], 1))
            total = total + 0.5 * (bce(made, torch.zeros_like(made)) + bce(real, torch.ones_like(real)))
        return total / len(images)

    def generators_loss():
        total = 0.0
        for each in images:
            output = generator(each['img_query'])
            made = critic(torch.cat([each['img_query'], output], 1))
            total = total + bce(made, torch.ones_like(made)) + 100 * F.l1_loss(output, each['img_response'])
        return total / len(images)

    return critics_loss, generators_loss


def by_hand(name, window):
    model = copy.deepcopy(build(name))
    ranks = [batches_of(name, rank, window) for rank in range(2)]
    for step in range(STEPS):
        mine = [own[step * window : (step + 1) * window] for own in ranks]
        second = step % EVERY == 0
        if name == 'EditModel':
            local_step(model, [edit_losses(model, own) for own in mine], second=second)
            continue
        critics, generators = zip(*(pix2pix_losses(model, own) for own in mine), strict=True)
        local_step(model.discriminators, critics, second=second)
        local_step(model.generators, generators, second=second)
    return tiny.state(model)


@pytest.mark.slow
def test_each_rank_climbs_alone_and_all_step_together(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('the wrappers would go to the GPUs')
    other = multiprocessing.get_context('spawn').Process(target=work, args=(1, str(tmp_path)))
    other.start()
    try:
        work(0, str(tmp_path))  # here, because starting a process costs more than the rest of the test
        other.join(60)
    finally:
        if other.is_alive():
            other.kill()
    assert other.exitcode == 0
    for name, window in CASES:
        files = [tmp_path / f'{name}{window}{rank}.pth' for rank in range(2)]
        (first, seen), (second, _) = (torch.load(file, weights_only=True) for file in files)
        assert tiny.same(first, second), f'{name}, {window}: the ranks differ'
        torch.testing.assert_close(first, by_hand(name, window), rtol=1e-9, atol=1e-12)
        assert seen.count('mark step') == (1 if name == 'EditModel' else 2)
        for turn in ' '.join(seen).split('mark step')[:-1]:
            before, after = turn.split('mark climb')
            assert 'c10d' not in before, f'{name}, {window}: the first pass communicates'
            assert 'c10d' in after
    (first, passes), (second, others) = (torch.load(tmp_path / f'overflow{r}.pth', weights_only=True) for r in range(2))
    assert (passes, others) == (2, 2)
    assert tiny.same(first, second)
    model = build('EditModel')
    losses = [edit_losses(model, batches_of('EditModel', rank, 1)[:1]) for rank in range(2)]
    local_step(model, losses, second=True, overflows=(1,))
    torch.testing.assert_close(first, tiny.state(model), rtol=1e-9, atol=1e-12)
