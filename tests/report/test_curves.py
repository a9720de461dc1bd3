"""Curves are what the toolboxes have logged, resumed runs and damaged lines included."""

from __future__ import annotations

import math

import pytest

from mea_plugin.report.curves import Curve, read_extraction, read_training
from tests.helpers import pair_folders, run_tool, training_options, write_yaml

HEAD = """\
2026-01-02 03:04:05,001 INFO:
Version Information:
\tBasicSR: 1.4.2
2026-01-02 03:04:05,002 INFO:
  name: run
  train:[
    total_iter: {total}
    pixel_opt:[
      type: L1Loss
    ]
  ]
  val:[
    val_freq: {frequency}
    save_img: False
  ]

2026-01-02 03:04:05,003 INFO: Start training from epoch: 0, iter: {start}
"""


def step(iteration, l_pix, more=''):
    return (
        f'2026-01-02 03:04:06,000 INFO: [run..][epoch:  3, iter:{iteration:8,d}, lr:(2.000e-04,1.000e-04,)] '
        f'[eta: 1 day, 2:03:04, time (data): 0.021 (0.014)] l_pix: {l_pix} {more}\n'
    )


def validation(name, **metrics):
    lines = ''.join(f'\t # {metric}: {value}\tBest: 99.0000 @ 1 iter\n' for metric, value in metrics.items())
    return f'2026-01-02 03:04:07,000 INFO: Validation {name}\n{lines}\n'


def write(folder, text, stamp='20260102_030405'):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'train_run_{stamp}.log').write_text(text)


def head(start=0, frequency=10, total=40):
    return HEAD.format(start=start, frequency=frequency, total=total)


def test_steps_of_basicsr(tmp_path):
    text = head() + step(1000, '6.4960e-02', 'l_g_gan: 1.0e-03 grad_norm: 2.5e-01') + step(2000, '5.0e-02')
    write(tmp_path, text)
    log = read_training(tmp_path)
    assert log.train['l_pix'] == Curve([1000, 2000], [0.06496, 0.05])
    assert log.train['l_g_gan'] == Curve([1000], [0.001])
    assert log.train['lr'] == Curve([1000, 2000], [2e-4, 2e-4])
    assert list(log.losses) == ['l_pix', 'l_g_gan']
    assert set(log.train) == {'l_pix', 'l_g_gan', 'grad_norm', 'lr'}
    assert log.validation == {}


def test_a_step_without_an_estimated_time(tmp_path):
    write(
        tmp_path, head() + '2026-01-02 03:04:06,000 INFO: [run..][epoch:  0, iter:       1, lr:(1e-3,)] l_pix: 0.5 \n'
    )
    assert read_training(tmp_path).train['l_pix'] == Curve([1], [0.5])


def test_what_is_not_finite_is_a_gap(tmp_path):
    write(tmp_path, head() + step(1, 'nan') + step(2, 'inf') + step(3, '0.1') + validation('Set5', psnr='nan'))
    log = read_training(tmp_path)
    assert log.train['l_pix'].iterations == [1, 2, 3]
    assert [math.isnan(value) for value in log.train['l_pix'].values] == [True, True, False]
    assert math.isnan(log.validation['Set5/psnr'].values[0])


def test_an_unfinished_line_and_bytes_that_are_no_text_are_skipped(tmp_path):
    write(tmp_path, head() + step(1, '0.3') + step(2, '0.2')[:-12])
    with (tmp_path / 'train_run_20260102_030405.log').open('ab') as file:
        file.write(b'\xff\xfe')
    assert read_training(tmp_path).train['l_pix'] == Curve([1], [0.3])


@pytest.mark.parametrize(
    ('every', 'frequency', 'expected'),
    [
        (10, 10, [10, 20, 30, 35]),  # the last at the end of training
        (5, 10, [10, 20, 30, 35]),
        (4, 10, [10, 20, 30, 35]),  # a validation that no step was logged at
        (100, 10, [10, 20, 30, 35]),  # no step was logged at all
        (10, '1e1', [10, 20, 30, 35]),
    ],
)
def test_a_validation_is_where_its_frequency_puts_it(tmp_path, every, frequency, expected):
    text = head(frequency=frequency, total=35)
    for iteration in range(1, 36):
        if iteration % every == 0:
            text += step(iteration, 0.1)
        if iteration in expected:
            text += validation('Set5', psnr=iteration, ssim=0.5) + validation('my set', psnr=-iteration)
    write(tmp_path, text + '2026-01-02 03:04:08,000 INFO: End of training. Time consumed: 0:00:01\n')
    log = read_training(tmp_path)
    assert log.validation == {
        'Set5/psnr': Curve(expected, expected),
        'Set5/ssim': Curve(expected, [0.5] * 4),
        'my set/psnr': Curve(expected, [-value for value in expected]),
    }


def test_a_resumed_run_replaces_what_was_given_up(tmp_path):
    first = head() + ''.join(
        step(iteration, 1) + (validation('Set5', psnr=1) if iteration % 10 == 0 else '')
        for iteration in range(2, 36, 2)
    )
    # Resumed at 20, whose validation was done, and logging every 5.
    second = head(start=20) + step(25, 2) + step(30, 2) + validation('Set5', psnr=2)
    write(tmp_path, first, '20260102_030405')
    write(tmp_path, second, '20260102_040000')
    log = read_training(tmp_path)
    assert log.train['l_pix'].iterations == [*range(2, 25, 2), 25, 30]
    assert log.train['l_pix'].values == [*[1] * 12, 2, 2]
    assert log.validation['Set5/psnr'] == Curve([10, 20, 30], [1, 1, 2])


@pytest.mark.parametrize('every', [10, 100])
def test_a_resumed_run_may_owe_a_validation(tmp_path, every):
    steps = [step(iteration, 1) for iteration in range(every, 21, every)]
    write(tmp_path, head() + ''.join(steps), '20260102_030405')  # killed while it validated
    write(
        tmp_path, head(start=20) + validation('Set5', psnr=3) + step(30, 1) + validation('Set5', psnr=4), '20260102_04'
    )
    assert read_training(tmp_path).validation['Set5/psnr'] == Curve([20, 30], [3, 4])


def lines(folder, start, *records, name='scalars.json'):
    path = folder / start / 'vis_data' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{record}\n' for record in records))


STEP = (
    '{{"generators.lr": 0.002, "data_time": 0.01, "loss": {loss}, "loss_pixel": 0.5, "time": 0.02, '
    '"iter": {i}, "step": {i}}}'
)


def test_steps_and_validations_of_mmengine(tmp_path):
    records = [
        STEP.format(loss=0.5, i=2),
        STEP.format(loss='NaN', i=4),
        '{"PSNR": 30.5, "data_time": 0.1, "time": 0.2, "step": 4}',
        '{"MEAFID": NaN, "step": 8}',
    ]
    lines(tmp_path, '20260102_030405', *records)
    lines(tmp_path, '20260102_030405', *records, name='20260102_030405.json')
    log = read_training(tmp_path)
    assert set(log.train) == {'generators.lr', 'loss', 'loss_pixel'}
    assert log.train['loss'].iterations == [2, 4]
    assert log.train['loss'].values[0] == 0.5
    assert math.isnan(log.train['loss'].values[1])
    assert list(log.losses) == ['loss', 'loss_pixel']
    assert log.validation['PSNR'] == Curve([4], [30.5])
    assert math.isnan(log.validation['MEAFID'].values[0])


def test_a_validation_whose_step_is_an_epoch(tmp_path):
    lines(tmp_path, '20260102_030405', STEP.format(loss=0.5, i=500), '{"PSNR": 30.5, "step": 3}')
    assert read_training(tmp_path).validation['PSNR'] == Curve([500], [30.5])


def test_resumed_runs_of_mmengine_and_damaged_lines(tmp_path):
    lines(tmp_path, '20260102_030405', *(STEP.format(loss=1, i=i) for i in (2, 4, 6, 8)), '[1]', '{"loss":', '{"a": 1}')
    lines(tmp_path, '20260102_040000', STEP.format(loss=2, i=5), STEP.format(loss=2, i=10), name='20260102_040000.json')
    assert read_training(tmp_path).train['loss'] == Curve([2, 4, 5, 10], [1, 1, 2, 2])


def test_an_extraction_has_a_log_for_each_surrogate_that_logged(tmp_path):
    write(tmp_path / 'experiments' / 'one', head() + step(1, 0.3))
    lines(tmp_path / 'experiments' / 'two', '20260102_030405', STEP.format(loss=0.5, i=2))
    (tmp_path / 'experiments' / 'nothing').mkdir()
    logs = read_extraction(tmp_path)
    assert {name: list(log.losses) for name, log in logs.items()} == {'one': ['l_pix'], 'two': ['loss', 'loss_pixel']}
    assert read_extraction(tmp_path / 'nowhere') == {}


def test_a_real_run(tmp_path):
    lq, gt = pair_folders(tmp_path / 'data')
    options = training_options(lq, gt)
    folders = {
        'type': 'PairedImageDataset',
        'dataroot_lq': str(lq),
        'dataroot_gt': str(gt),
        'io_backend': {'type': 'disk'},
    }
    options['datasets'] |= {'val': {'name': 'three', **folders}, 'val_2': {'name': 'again', **folders}}
    metric = {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True}
    options['val'] = {'val_freq': 3, 'save_img': False, 'metrics': {'psnr': metric}}
    options['logger'] = {'print_freq': 2, 'save_checkpoint_freq': 100, 'use_tb_logger': False}
    run = run_tool('train_basicsr', '-opt', write_yaml(tmp_path / 'o.yml', options), '--root', tmp_path, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    log = read_extraction(tmp_path)['tiny']
    assert log.train['l_pix'].iterations == [2, 4]
    assert all(0 < value < 1 for value in log.train['l_pix'].values)
    assert {'grad_norm', 'images_per_second', 'memory_mb', 'lr'} <= set(log.train)
    assert log.validation['three/psnr'].iterations == log.validation['again/psnr'].iterations == [3, 4]
    assert log.validation['three/psnr'] == log.validation['again/psnr']
