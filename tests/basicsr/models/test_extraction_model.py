"""ExtractionModel against BasicSR's SRModel, against the equations, and trained and resumed by the tool."""

import copy

import pytest
import torch

from mea_plugin.losses import HighFrequencyLoss
from mea_plugin.optim import SAM
from tests.basicsr.steps import DROPOUT_NET, SAM_OPT, assert_same, batches, build, terms, train, weights
from tests.helpers import pair_folders, run_tool, training_options, write_yaml

HF = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}


@pytest.mark.parametrize('train_options', [{}, {'ema_decay': 0.9}])
@pytest.mark.parametrize('network', [None, DROPOUT_NET], ids=['SRVGG', 'SwinIR with dropout'])
def test_without_penalty_and_sam_it_is_basicsr_s_model(train_options, network):
    ours, theirs = (build(name, network, **copy.deepcopy(train_options)) for name in ('ExtractionModel', 'SRModel'))
    assert terms(train(ours)) == train(theirs)
    assert_same(weights(ours), weights(theirs))
    if train_options:
        assert_same(ours.net_g_ema.state_dict(), theirs.net_g_ema.state_dict())


def test_the_objective_is_pixel_plus_scheduled_penalty():
    model = build('ExtractionModel', hf_opt=HF, hf_schedule='lr')
    penalty = HighFrequencyLoss(loss_weight=0.15, wave='db3', level=2)
    for iteration, batch in enumerate(batches(4), 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        with torch.no_grad():
            output = model.net_g(batch['lq'])
            factor = 1 - model.get_current_learning_rate()[0] / 1e-3
            expected = factor * penalty(output, batch['gt'])
            pixel = (output - batch['gt']).abs().mean()
        model.optimize_parameters(iteration)
        log = model.get_current_log()
        assert log['l_hf'] == pytest.approx(float(expected), rel=1e-4, abs=1e-8)
        assert log['l_pix'] == pytest.approx(float(pixel), rel=1e-5)
        assert (factor == 0) == (iteration == 1)


def test_the_first_step_differs_only_by_the_penalty():
    """With the paper's schedule the penalty's weight is 0 in the first step, and not in the second."""
    baseline, proposed = build('ExtractionModel'), build('ExtractionModel', hf_opt=HF, hf_schedule='lr')
    assert_same(weights(baseline), weights(proposed))
    train(baseline, 1), train(proposed, 1)
    assert_same(weights(baseline), weights(proposed))
    baseline, proposed = build('ExtractionModel'), build('ExtractionModel', hf_opt=HF, hf_schedule='lr')
    train(baseline, 2), train(proposed, 2)
    assert any(
        not torch.equal(a, b) for a, b in zip(weights(baseline).values(), weights(proposed).values(), strict=True)
    )


@pytest.mark.parametrize('network', [None, DROPOUT_NET], ids=['SRVGG', 'SwinIR with dropout'])
def test_sam_steps_as_its_equations_say(network):
    """One SAM step, written out by hand: gradient at w + rho g / |g|, same batch and dropout, applied at w."""
    model = build('ExtractionModel', network, optim_g={**SAM_OPT, 'base_optimizer': 'SGD', 'lr': 0.1, 'rho': 0.3})
    net = copy.deepcopy(model.net_g)
    (batch,) = batches(1)

    def gradient():
        torch.manual_seed(3)
        net.zero_grad()
        (net(batch['lq']) - batch['gt']).abs().mean().backward()
        return [p.grad.clone() for p in net.parameters()]

    first = gradient()
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in first)).float()
    with torch.no_grad():
        for p, g in zip(net.parameters(), first, strict=True):
            p += 0.3 * g / norm
    second = gradient()
    with torch.no_grad():
        for p, g, h in zip(net.parameters(), first, second, strict=True):
            p -= 0.3 * g / norm + 0.1 * h
    train(model, 1)
    for p, q in zip(model.net_g.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_rho_0_is_the_base_optimizer():
    plain, sam = build('ExtractionModel'), build('ExtractionModel', optim_g={**SAM_OPT, 'rho': 0.0})
    assert isinstance(sam.optimizer_g, SAM)
    assert train(plain) == train(sam)
    assert_same(weights(plain), weights(sam))


@pytest.mark.parametrize('name', ['AdamW', 'SGD', 'RMSprop', 'NAdam'])
def test_any_torch_optimizer_works(name):
    model = build('ExtractionModel', optim_g={'type': name, 'lr': 1e-3})
    assert type(model.optimizer_g) is getattr(torch.optim, name)
    before = weights(model)
    train(model, 1)
    assert any(not torch.equal(a, b) for a, b in zip(before.values(), weights(model).values(), strict=True))


def test_buffers_move_once_per_step_and_follow_into_the_average():
    from basicsr.utils.registry import ARCH_REGISTRY

    class TinyBatchNorm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 48, 3, padding=1))
            self.up = torch.nn.PixelShuffle(4)

        def forward(self, x):
            return self.up(self.body(x))

    ARCH_REGISTRY.register(TinyBatchNorm)
    try:
        network = {'type': 'TinyBatchNorm'}
        plain = build('ExtractionModel', network, ema_decay=0.9)
        sam = build('ExtractionModel', network, ema_decay=0.9, optim_g=SAM_OPT)
    finally:
        ARCH_REGISTRY._obj_map.pop('TinyBatchNorm')
    train(plain, 3), train(sam, 3)
    assert int(sam.net_g.body[0].num_batches_tracked) == 3
    # Inputs of the batch norm do not depend on the weights here: the statistics must be the plain run's.
    torch.testing.assert_close(sam.net_g.body[0].running_mean, plain.net_g.body[0].running_mean)
    assert torch.equal(sam.net_g_ema.body[0].running_mean, sam.net_g.body[0].running_mean)
    assert int(sam.net_g_ema.body[0].num_batches_tracked) == 3


def test_networks_with_windows_validate_at_any_size():
    model = build('ExtractionModel', DROPOUT_NET)
    model.feed_data({'lq': torch.rand(1, 3, 9, 11)})
    model.test()
    assert model.output.shape == (1, 3, 36, 44)
    assert model.net_g.training


def test_training_lowers_the_loss_and_resumes_on_a_cpu(tmp_path):
    lq, gt = pair_folders(tmp_path)
    options = training_options(lq, gt, hf_opt=HF, hf_schedule='lr', optim_g={**SAM_OPT, 'lr': 1e-2}, ema_decay=0.9)
    options['train']['total_iter'] = 90
    options['train']['scheduler']['periods'] = [90]
    options['val'] = {
        'val_freq': 1,
        'save_img': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}},
    }
    val = {'name': 'val', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    options['datasets']['val'] = {**val, 'dataroot_lq': str(lq), 'dataroot_gt': str(gt)}
    options['logger']['save_checkpoint_freq'] = 45
    file = write_yaml(tmp_path / 'tiny.yml', options)
    done = run_tool('train_basicsr', '-opt', file, '--root', tmp_path)
    assert done.returncode == 0, done.stderr
    quality = [float(line.split('psnr: ')[1].split()[0]) for line in done.stderr.splitlines() if 'psnr: ' in line]
    assert len(quality) == 90
    assert quality[-1] > quality[0] + 0.3
    models = tmp_path / 'experiments' / 'tiny' / 'models'
    final = torch.load(models / 'net_g_latest.pth', weights_only=True)
    assert {'params', 'params_ema'} == set(final)
    state = torch.load(tmp_path / 'experiments' / 'tiny' / 'training_states' / '45.state', weights_only=True)
    parameters = sum(value.numel() for value in final['params'].values())
    kept = sum(v.numel() for s in state['optimizers'][0]['state'].values() for v in s.values() if torch.is_tensor(v))
    assert kept <= 2 * parameters + len(final['params'])  # Adam's two moments and steps; no perturbation

    (tmp_path / 'experiments' / 'tiny' / 'training_states' / '90.state').unlink()
    resumed = run_tool('train_basicsr', '-opt', file, '--root', tmp_path, '--auto_resume')
    assert resumed.returncode == 0, resumed.stderr
    assert 'Resuming training from epoch: 3, iter: 45' in resumed.stderr
    assert 'iter:      46' in resumed.stderr
