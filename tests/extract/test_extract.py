"""The demo's job on a shrunken setting, and that each step runs only when something it depends on has changed."""

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mea_plugin.core.images import read_rgb
from mea_plugin.extract import load_extraction, training
from mea_plugin.toolboxes.basicsr_networks import build_network
from mea_plugin.victims import build_victim
from tests.helpers import ROOT, call_tool, photograph, refused, run_tool, save, training_options, write_yaml

VICTIM = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 4}
PROPOSED = {
    'train': {
        'hf_opt': {'type': 'HighFrequencyLoss', 'level': 1},
        'hf_schedule': 'lr',
        'optim_g': {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3},
    }
}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """An extraction of a random x4 network, with 4 iterations of training; returns the option file."""
    torch.save(build_network(VICTIM).state_dict(), tmp_path / 'victim.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))  # no weights of metrics, whoever has them
    for index in range(3):
        save(tmp_path / 'photos' / f'{index}.png', photograph((64, 72), index))
        save(tmp_path / 'test' / f'{index}.png', photograph((97, 98), 10 + index))
    surrogate = training_options(None, None)
    surrogate['datasets']['train'].pop('dataroot_lq')
    surrogate['datasets']['train'].pop('dataroot_gt')
    write_yaml(tmp_path / 'surrogate.yml', surrogate)
    opt = str(tmp_path / 'surrogate.yml')
    return write_yaml(
        tmp_path / 'job.yml',
        {
            'name': 'job',
            'output': str(tmp_path / 'out'),
            'victim': {'type': 'basicsr', 'network_g': VICTIM, 'weights': str(tmp_path / 'victim.pth')},
            'queries': {'images': str(tmp_path / 'photos'), 'shrink': 4, 'budget': 2},
            'surrogates': {'baseline': {'opt': opt}, 'proposed': {'opt': opt, 'override': PROPOSED}},
            'evaluation': {
                'test_sets': [{'name': 'mine', 'gt': str(tmp_path / 'test')}],
                'baselines': {'bicubic': {'type': 'bicubic'}},
                'metrics': ['psnr_y', 'ssim_y', 'hf_psnr', 'lpips_alex'],
                'weights': {'folder': str(tmp_path)},
                'ceiling': True,
                'save_images': 1,
            },
        },
    )


def edit(file, change):
    options = yaml.safe_load(file.read_text())
    change(options)
    write_yaml(file, options)


@pytest.fixture
def extract(job, tmp_path, monkeypatch, capsys):
    """Extract in this process; returns what was printed, each step and whether it was up to date, and the commands.

    Training is replaced by writing an untrained network, which saves starting Python twice.
    """
    commands = []
    seeds = itertools.count()

    def fake_training(command, name, total, log, keep_open):
        commands.append(command)
        options = yaml.safe_load(Path(command[command.index('-opt') + 1]).read_text())
        weights = tmp_path / 'out' / 'experiments' / name / 'models' / 'net_g_latest.pth'
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(next(seeds))
        torch.save({'params': build_network(options['network_g']).state_dict()}, weights)
        return training.Pace()

    def run():
        commands.clear()
        assert call_tool('extract', '-opt', job) == 0
        printed = capsys.readouterr().out
        return printed, steps(printed), list(commands)

    monkeypatch.setattr(training, '_run', fake_training)
    monkeypatch.chdir(tmp_path)
    return run


def steps(printed):
    """Step name to whether it was up to date, from what the tool printed."""
    found = re.findall(r'^\[(.+?)\] .*\((up to date|\d+ s)\)$', printed, re.MULTILINE)
    return {name: took == 'up to date' for name, took in found}


ALL = ('query', 'train baseline', 'train proposed', 'evaluate')


@pytest.mark.every_environment
def test_an_extraction_from_one_file(job, tmp_path):
    """The real thing, in processes of its own: table, picture, and two surrogates that differ."""
    out = tmp_path / 'out'
    run = run_tool('extract', '-opt', job, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert steps(run.stdout) == dict.fromkeys(ALL, False)
    table = (out / 'evaluation' / 'table.md').read_text()
    assert table.strip() in run.stdout
    assert 'bicubic' in table
    assert '3 images, x4' in table
    assert 'LPIPS (AlexNet): n/a (weights: ' in table
    assert '| ceiling' in table
    content = json.loads((out / 'evaluation' / 'evaluation.json').read_text())
    assert content['command'] == ['python', 'tools/extract.py', '-opt', str(job)]
    assert len(content['pictures']) == 1
    picture = re.search(r'^picture: (.*)$', run.stdout, re.MULTILINE)[1]
    assert min(read_rgb(picture).shape[:2]) > 100
    weights = {
        name: torch.load(out / 'experiments' / name / 'models' / 'net_g_latest.pth', weights_only=True)['params']
        for name in ('baseline', 'proposed')
    }
    assert any(not torch.equal(weights['baseline'][key], weights['proposed'][key]) for key in weights['baseline'])
    logs = {name: (out / 'surrogates' / f'{name}.log').read_text() for name in weights}
    assert 'l_hf' in logs['proposed']
    assert 'l_hf' not in logs['baseline']


def test_a_step_is_done_again_only_when_its_inputs_have_changed(job, tmp_path, extract):
    out = tmp_path / 'out'
    first, done, _ = extract()
    assert done == dict.fromkeys(ALL, False)
    again, done, commands = extract()
    assert done == dict.fromkeys(ALL, True)
    assert commands == []
    assert first[first.index('**mine') :] == again[again.index('**mine') :]

    # Results are judged by content, not by name.
    path = out / 'experiments' / 'baseline' / 'models' / 'net_g_latest.pth'
    path.write_bytes(b'damaged')
    assert not extract()[1]['train baseline']

    # A picture that is gone is made again.
    (picture,) = (out / 'evaluation' / 'images').rglob('proposed.png')
    picture.unlink()
    assert extract()[1] == {**dict.fromkeys(ALL, True), 'evaluate': False}
    assert picture.is_file()

    # One surrogate's options changed: it is trained again, and the evaluation follows.
    extract()
    edit(job, lambda o: o['surrogates']['proposed']['override']['train']['optim_g'].update(rho=0.5))
    assert extract()[1] == {**dict.fromkeys(ALL, False), 'query': True, 'train baseline': True}

    # A larger budget: one more query, the two that were there are not sent again; everything after follows.
    before = (out / 'queries' / 'response' / '000001.png').stat().st_mtime_ns
    edit(job, lambda o: o['queries'].update(budget=3))
    assert extract()[1] == dict.fromkeys(ALL, False)
    assert (out / 'queries' / 'response' / '000001.png').stat().st_mtime_ns == before
    assert len(json.loads((out / 'queries' / 'manifest.json').read_text())['pairs']) == 3

    # Another content under the same name.
    save(tmp_path / 'photos' / '1.png', photograph((64, 72), 77))
    assert call_tool('extract', '-opt', job) == 2  # the budget is for all runs
    edit(job, lambda o: o['queries'].update(budget=4))
    assert extract()[1] == dict.fromkeys(ALL, False)


def test_ctrl_c_leaves_the_training_the_time_to_put_its_state_away(tmp_path):
    child = """
import os, pathlib, signal, sys, time
def stop(*_):
    for _ in range(10000):
        print('saving', flush=True)
    pathlib.Path(sys.argv[1]).touch()
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
print('iter: 1', flush=True)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""
    with pytest.raises(KeyboardInterrupt):
        training._run([sys.executable, '-c', child, str(tmp_path / 'saved')], 'x', 1, tmp_path / 'x.log')
    assert (tmp_path / 'saved').is_file()
    assert (tmp_path / 'x.log').read_text().count('saving') == 10000


def test_an_interrupted_training_goes_on_and_a_changed_one_begins_again(job, extract, monkeypatch, capsys):
    fake = training._run

    def interrupted(*arguments):
        fake(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, '_run', interrupted)
    assert call_tool('extract', '-opt', job) == 130
    assert 'run the same command again' in capsys.readouterr().err
    monkeypatch.setattr(training, '_run', fake)
    _, _, (baseline, proposed) = extract()
    assert '--auto_resume' in baseline
    assert '--auto_resume' not in proposed
    edit(job, lambda o: o['surrogates']['proposed']['override']['train']['hf_opt'].update(loss_weight=0.3))
    _, _, (proposed,) = extract()
    assert '--auto_resume' not in proposed


REFUSED = [
    (lambda o: o.update(victims={}), ("'victims'", "'victim'")),
    (lambda o: o.pop('evaluation'), ("'evaluation'",)),
    (lambda o: o['queries'].update(budget=0), ('queries.budget: ', ' 0')),
    (lambda o: o['queries'].update(budgets=1), ('queries: ', "'budgets'", "'budget'")),
    (lambda o: o['queries'].update(images='nowhere'), ('queries.images: ', 'nowhere')),
    (lambda o: o['victim'].update(weights='nowhere.pth'), ('nowhere.pth: ',)),
    (lambda o: o['victim']['network_g'].update(num_feat=9), ('SRVGGNetCompact',)),
    (lambda o: o['surrogates']['proposed'].update(overide={}), ("'overide'", "'override'")),
    (lambda o: o['surrogates']['proposed'].update(opt='nowhere.yml'), ('nowhere.yml: ',)),
    (lambda o: o['surrogates']['proposed']['override']['train']['hf_opt'].update(wave='db99'), ('db99',)),
    (lambda o: o['surrogates']['proposed']['override']['train']['hf_opt'].update(level=5), ('level',)),
    (lambda o: o['surrogates']['proposed']['override']['train']['optim_g'].update(base_optimizer='Adan'), ('Adan',)),
    (lambda o: o['evaluation']['test_sets'][0].update(gt='nowhere'), ('nowhere',)),
    (lambda o: o['evaluation']['test_sets'][0].update(target='nowhere'), ('mine.target: ', 'nowhere')),
    (lambda o: o['evaluation'].update(metrics=['psnr']), ('evaluation.metrics: ', "'psnr'")),
    (
        lambda o: o['evaluation'].update(seeds={'all': ['hours']}),
        ('evaluation.seeds.all: ', "'hours'"),
    ),
    (lambda o: o['evaluation'].update(metric=['psnr_y']), ("'metric'", "'metrics'")),
]


@pytest.mark.parametrize('index', range(len(REFUSED)))
def test_a_wrong_file_is_refused_before_anything_is_asked_or_trained(job, tmp_path, monkeypatch, capsys, index):
    change, texts = REFUSED[index]
    edit(job, change)
    monkeypatch.chdir(tmp_path)
    assert call_tool('extract', '-opt', job) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    assert all(text in line for text in texts)
    assert not (tmp_path / 'out' / 'queries').exists()
    assert not (tmp_path / 'out' / 'experiments').exists()


def test_a_bad_query_image_is_refused(job, tmp_path, capsys):
    (tmp_path / 'photos' / '1.png').write_bytes((tmp_path / 'photos' / '1.png').read_bytes()[:300])
    assert call_tool('extract', '-opt', job) == 2
    assert capsys.readouterr().err.startswith(f'error: {tmp_path / "photos" / "1.png"}: ')
    assert not (tmp_path / 'out' / 'queries').exists()


@pytest.mark.parametrize('file', sorted((ROOT / 'options' / 'extract').glob('*.yml')), ids=lambda path: path.stem)
def test_the_files_that_ship_are_valid(file, monkeypatch):
    if 'style' in file.stem:
        pytest.importorskip('mmagic')
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MEA_API_KEY', 'no key is looked at here')
    options = load_extraction(file)
    scale = build_victim(options.file.victim).scale
    assert len(options.surrogates) >= 2
    for surrogate in options.surrogates:
        surrogate.check(scale, str(file))
        with refused(str(file), str(scale), str(scale + 1)):
            surrogate.check(scale + 1, str(file))
