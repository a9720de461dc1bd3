"""The style demo's job on a shrunken setting: an OpenCV style, and surrogates that MMagic trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mea_plugin.core.images import read_rgb
from mea_plugin.extract import training
from tests.helpers import ROOT, call_tool, photograph, save, write_yaml

pytest.importorskip('mmagic')

DEMO = ROOT / 'options' / 'mmagic' / 'demo'
TINY = {
    'model': {'generator': {'base_channels': 4}, 'discriminator': {'base_channels': 4}},
    'train_cfg': {'max_iters': 3},
    'train_dataloader': {'batch_size': 1},
    'default_hooks': {'checkpoint': {'interval': 2}, 'logger': {'interval': 1}},
}
ALL = ('query', 'train baseline', 'train proposed', 'evaluate')


@pytest.fixture
def job(tmp_path) -> Path:
    for index in range(2):
        save(tmp_path / 'photos' / f'{index}.png', photograph((264, 272), index))
        save(tmp_path / 'test' / f'{index}.png', photograph((98, 97), 10 + index))
    return write_yaml(
        tmp_path / 'job.yml',
        {
            'name': 'job',
            'output': str(tmp_path / 'out'),
            'victim': {'type': 'opencv', 'style': 'stylization'},
            'queries': {'images': str(tmp_path / 'photos'), 'shrink': 2},
            'surrogates': {
                name: {'opt': str(DEMO / f'style_{name}.py'), 'override': TINY} for name in ('baseline', 'proposed')
            },
            'evaluation': {'test_sets': [{'name': 'mine', 'lq': str(tmp_path / 'test'), 'shrink': 2}]},
        },
    )


@pytest.fixture
def extract(job, tmp_path, monkeypatch, capsys):
    """Extract, training in this process; what was printed, which steps were up to date, the commands."""
    from mea_plugin.mmagic.run import train

    commands: list[list[str]] = []

    def run_here(command, name, total, log, keep_open):
        assert total == 3
        commands.append(command)
        train.main(command[command.index('mea_plugin.mmagic.run.train') + 1 :])
        return training.Pace()

    def run():
        commands.clear()
        assert call_tool('extract', '-opt', job) == 0
        printed = capsys.readouterr().out
        found = re.findall(r'^\[(.+?)\] .*\((up to date|\d+ s)\)$', printed, re.MULTILINE)
        return printed, {name: took == 'up to date' for name, took in found}, list(commands)

    monkeypatch.setattr(training, '_run', run_here)
    monkeypatch.chdir(tmp_path)
    return run


def test_an_extraction_with_mmagic(job, tmp_path, extract):
    out = tmp_path / 'out'
    printed, done, commands = extract()
    assert done == dict.fromkeys(ALL, False)
    assert len(commands) == 2
    for row in ('baseline', 'proposed'):
        assert re.search(rf'^\| {row} ', printed, re.MULTILINE)
        assert (out / 'experiments' / row / 'surrogate.pth').is_file()
    assert not re.search(r'^\| bicubic', printed, re.MULTILINE)  # which means nothing at scale 1
    assert '2 images, x1' in printed
    assert read_rgb(out / 'test_sets' / 'mine' / 'lq' / '0.png').shape == (49, 48, 3)
    assert read_rgb(out / 'queries' / 'response' / '000000.png').shape == (132, 136, 3)

    _, done, commands = extract()
    assert done == dict.fromkeys(ALL, True)
    assert commands == []

    options = yaml.safe_load(job.read_text())
    options['surrogates']['proposed']['override'] = {
        **TINY,
        'model': {**TINY['model'], 'hf_loss': {'loss_weight': 0.3}},
    }
    write_yaml(job, options)
    _, done, commands = extract()
    assert done == {**dict.fromkeys(ALL, False), 'query': True, 'train baseline': True}
    assert '--resume' not in commands[0]


def test_an_interrupted_training_goes_on(job, tmp_path, extract, monkeypatch, capsys):
    run_here = training._run

    def interrupted(command, *arguments):
        run_here(command, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, '_run', interrupted)
    assert call_tool('extract', '-opt', job) == 130
    monkeypatch.setattr(training, '_run', run_here)
    _, _, (baseline, proposed) = extract()
    assert '--resume' in baseline
    assert '--resume' not in proposed


@pytest.mark.parametrize(
    ('change', 'texts'),
    [
        (lambda o: o['surrogates']['proposed'].update(opt='nowhere.py'), ('nowhere.py: ',)),
        (lambda o: o['surrogates']['proposed'].update(override={'model': {'hf_loss': {'wave': 'db99'}}}), ('db99',)),
        (lambda o: o['surrogates']['proposed'].update(override={'model': {'typ': 'x'}}), ("'typ'",)),
        (lambda o: o['victim'].update(style='comic'), ("'comic'",)),
        (lambda o: o['evaluation']['test_sets'][0].pop('lq'), ('evaluation.test_sets[0]: ',)),
        (lambda o: o['evaluation']['test_sets'][0].update(shrink=0), ('evaluation.test_sets[0].shrink: ', ' 0')),
        (lambda o: o['surrogates'].update(proposed={'opt': str(ROOT / 'options/mmagic/small/edsr_x4_baseline.py')}),
         (' 4', ' 1')),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_before_anything_is_asked(job, tmp_path, monkeypatch, capsys, change, texts):
    options = yaml.safe_load(job.read_text())
    change(options)
    write_yaml(job, options)
    monkeypatch.chdir(tmp_path)
    assert call_tool('extract', '-opt', job) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error: ')
    assert all(text in line for text in texts)
    assert not (tmp_path / 'out' / 'queries').exists()
    assert not (tmp_path / 'out' / 'experiments').exists()
