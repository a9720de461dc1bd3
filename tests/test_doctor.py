"""The doctor: each clash that was met is found, and a sound environment is not accused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mea_plugin import doctor_machine
from mea_plugin.doctor import SHOWN, Finding, examine, handled, report, version_of
from tests.test_packaging import LOCKS, pins

SOUND = {
    'torch': '2.11.0+cu130',
    'torchvision': '0.26.0',
    'numpy': '2.4.6',
    'basicsr': '1.4.2',
    'mmagic': '1.2.0',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'diffusers': '0.24.0',
    'huggingface-hub': '0.25.2',
    'albumentations': '1.3.1',
    'controlnet-aux': '0.0.10',
    'opencv-python-headless': '5.0.0.93',
}


@pytest.mark.parametrize('lock', LOCKS)
def test_the_locks_are_sound(root: Path, lock: str):
    versions = {pin['name']: pin['version'] for pin in pins(root, lock)}
    assert examine(versions, (3, int(lock[-2:]))) == []


@pytest.mark.parametrize(
    ('change', 'python', 'serious', 'what', 'do'),
    [
        ({}, (3, 13), True, 'Python 3.13', 'use Python 3.10'),
        ({'torch': None}, (3, 11), True, 'torch is missing', 'pip install torch torchvision'),
        ({'torch': '2.0.1'}, (3, 11), True, 'older than 2.1', 'torch>=2.1'),
        ({'torch': '2.1.2+cu121'}, (3, 11), True, 'numpy 1 and fails with numpy 2', 'numpy<2'),
        ({'torchvision': None}, (3, 11), True, 'needs torchvision', 'pip install torchvision'),
        ({'mmcv-lite': None}, (3, 11), True, 'needs mmcv', 'mmcv-lite==2.1.0'),
        ({'mmcv-lite': None, 'mmcv': '2.2.0'}, (3, 11), True, 'refuses this mmcv', 'mmcv>=2.0,<2.2'),
        ({'mmcv': '2.1.0'}, (3, 11), False, 'mmcv, mmcv-lite all install `mmcv`', 'pip uninstall mmcv mmcv-lite'),
        ({'albumentations': None}, (3, 11), True, 'imports albumentations', 'pip install albumentations'),
        ({'diffusers': '0.25.1'}, (3, 11), True, 'diffusers 0.25', 'diffusers<0.25'),
        ({'huggingface-hub': '0.36.0'}, (3, 11), True, 'huggingface-hub 0.26', 'huggingface-hub<0.26'),
        ({'transformers': '4.49.0'}, (3, 11), True, 'transformers 4.49', 'transformers<4.49'),
        ({'albumentations': '2.0.9'}, (3, 11), True, 'albumentations 2.0.9', 'albumentations<2.0.9'),
        ({'pytorch-wavelets': '1.3.0', 'setuptools': '82.0.0'}, (3, 11), True, 'pkg_resources', 'setuptools<81'),
        ({'opencv-python': '5.0.0.93'}, (3, 11), False, '`cv2`', 'then pip install opencv-python==5.0.0.93'),
        ({'opencv-python': '4.10.0.84'}, (3, 11), True, '`cv2`', 'then pip install opencv-python==4.10.0.84'),
        ({'tensorboard': '2.21.0', 'tb-nightly': '2.20.0a1'}, (3, 11), False, '`tensorboard`', 'tensorboard==2.21.0'),
        ({'basicsr': None, 'mmagic': None}, (3, 11), False, 'no toolbox', "pip install -e '.[basicsr]'"),
    ],
)
def test_one_change_gives_its_one_finding(change: dict, python: tuple, serious: bool, what: str, do: str):
    versions = {name: version for name, version in {**SOUND, **change}.items() if version is not None}
    (finding,) = examine(versions, python)
    assert finding.serious is serious
    assert what in finding.what
    assert do in finding.do


def test_a_mediapipe_without_solutions_is_found():
    (finding,) = examine({**SOUND, 'mediapipe': '1.2.2'}, (3, 11), mediapipe_broken=True)
    assert finding.do == 'pip uninstall mediapipe'
    assert (
        examine({'torch': '2.11.0', 'basicsr': '1.4.2', 'torchvision': '0.26.0'}, (3, 11), mediapipe_broken=True) == []
    )


def test_serious_findings_come_first():
    versions = {**SOUND, 'mmcv': '2.1.0', 'diffusers': '0.30.0'}
    assert [finding.serious for finding in examine(versions, (3, 11))] == [True, False]


def test_the_report_shows_versions_and_what_to_type():
    text = report({'torch': '2.11.0'}, [Finding(True, 'it fails', 'type this'), Finding(False, 'mind', 'or that')])
    lines = text.splitlines()
    assert lines[0].split() == ['torch', '2.11.0']
    assert lines[1].split() == ['torchvision', '-']
    assert lines[len(SHOWN) :] == ['', 'PROBLEM: it fails', '  -> type this', 'note: mind', '  -> or that']
    assert report(SOUND, []).endswith('\n\nnothing clashes')


@pytest.mark.parametrize(
    ('text', 'numbers'), [('2.1.2+cu121', (2, 1, 2)), ('2.21.0a20251023', (2, 21, 0)), ('5', (5,)), ('dev', ())]
)
def test_version_of(text: str, numbers: tuple):
    assert version_of(text) == numbers


def test_the_tool_ends_with_1_only_for_a_problem(root: Path):
    env = {**os.environ, 'PYTHONPATH': str(root)}
    command = [sys.executable, str(root / 'tools' / 'doctor.py')]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == int('PROBLEM: ' in result.stdout)
    assert result.stderr == ''
    assert '\nbasicsr ' in result.stdout


def test_what_is_handled_is_told_and_is_no_finding():
    told = ' '.join(handled(SOUND))
    for word in ('torchvision 0.17', 'numpy 2', 'torch 2.6', 'mmcv-lite'):
        assert word in told
    old = {**SOUND, 'torchvision': '0.16.2', 'numpy': '1.26.4', 'torch': '2.1.2', 'mmcv': '2.1.0'}
    old.pop('mmcv-lite')
    assert handled(old) == []


def test_folders(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    folders = {'new': tmp_path / 'a' / 'b', 'there': tmp_path, 'blocked': tmp_path / 'file' / 'c'}
    (finding,) = doctor_machine.examine_folders(folders)
    assert finding.serious
    assert 'is a file: needed for blocked' in finding.what


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    (finding,) = doctor_machine.examine_folders({'results': tmp_path})
    assert 'cannot be written to' in finding.what
    assert finding.do == f'chmod u+wx {tmp_path}'


def test_weights(tmp_path: Path):
    (tmp_path / 'vgg19-dcbb9e9d.pth').write_bytes(b'')
    lines = doctor_machine.examine_weights(tmp_path)
    assert str(tmp_path) in lines[0]
    assert any('perceptual' in line and 'vgg19-dcbb9e9d.pth' in line for line in lines)
    assert any('FID' in line and 'none' in line for line in lines)
    assert len(doctor_machine.examine_weights(tmp_path / 'nowhere')) == len(lines)


def test_the_hub_folder_is_torchs():
    import torch

    assert doctor_machine.hub_folder(os.environ) == Path(torch.hub.get_dir()) / 'checkpoints'
    assert doctor_machine.hub_folder({'TORCH_HOME': '/x'}) == Path('/x/hub/checkpoints')


@pytest.mark.parametrize(('names', 'built', 'count'), [(['A', 'A'], '13.0', 0), ([], '13.0', 1), ([], None, 1)])
def test_gpus(names: list, built, count: int, monkeypatch):
    import torch

    monkeypatch.setattr(torch.version, 'cuda', built)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(names))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(names))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: names[index])
    monkeypatch.setattr(doctor_machine.shutil, 'which', lambda name: '/usr/bin/nvidia-smi')
    line, findings = doctor_machine.examine_gpu()
    assert line.startswith('GPU: 2 (A)' if names else 'GPU: none')
    assert len(findings) == count


def test_a_torch_that_does_not_import_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    _, (finding,) = doctor_machine.examine_gpu()
    assert finding.serious
    assert 'does not import' in finding.what
