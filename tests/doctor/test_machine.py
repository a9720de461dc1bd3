"""What the doctor finds on the machine: GPUs, folders, weights, and the Python to type."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mea_plugin.doctor import machine as doctor_machine
from mea_plugin.metrics.published_weights import KNOWN
from tests.doctor.test_report import SOUND, check_command

pytestmark = pytest.mark.every_environment


def test_python_is_named_by_its_path_unless_it_is_the_one_typed(tmp_path: Path, monkeypatch):
    python = tmp_path / 'my env' / 'python'
    python.parent.mkdir()
    python.touch(0o755)
    monkeypatch.setattr(sys, 'executable', str(python))
    monkeypatch.setenv('PATH', str(tmp_path))
    assert doctor_machine.python_to_type() == f"'{python}'"
    monkeypatch.setenv('PATH', str(python.parent))
    assert doctor_machine.python_to_type() == 'python'


def test_folders(tmp_path: Path):
    (tmp_path / 'a file').write_text('')
    folders = {'new': tmp_path / 'a' / 'b', 'there': tmp_path, 'blocked': tmp_path / 'a file' / 'c'}
    (finding,) = doctor_machine.examine_folders(folders)
    assert finding.serious
    assert 'is a file: needed for blocked' in finding.what
    subprocess.run(['sh', '-c', finding.do], check=True)
    assert doctor_machine.examine_folders(folders) == []


@pytest.mark.parametrize('mine', [True, False])
def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch, mine: bool):
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    monkeypatch.setattr(os, 'getuid', lambda: tmp_path.stat().st_uid + (not mine))
    (finding,) = doctor_machine.examine_folders({'results': tmp_path})
    assert 'cannot be written to' in finding.what
    assert finding.do == (f'chmod u+wx {tmp_path}' if mine else f'sudo chown $USER {tmp_path}')


@pytest.fixture
def homes(tmp_path: Path, monkeypatch) -> dict[str, str]:
    """Variables with which no weights but those of the test are found."""
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    return {'TORCH_HOME': str(tmp_path / 'torch')}


def line_of(lines: list[str], purpose: str) -> str:
    (line,) = [line for line in lines if line.startswith(f'  {purpose}')]
    return line


def test_weights_are_known_by_their_exact_names(tmp_path: Path, homes: dict):
    checkpoints = tmp_path / 'torch' / 'hub' / 'checkpoints'
    checkpoints.mkdir(parents=True)
    for name in ('inception_v3_google-0cc3c7bd.pth', 'vgg19_bn-c79401a0.pth', 'vgg16_bn-6c64b313.pth'):
        (checkpoints / name).touch()
    lines, findings = doctor_machine.examine_weights(homes)
    assert findings == []
    assert sum(': no ' in line for line in lines) == len(doctor_machine.WEIGHTS)
    for weights in doctor_machine.WEIGHTS:
        (checkpoints / weights.name).touch()
        lines, _ = doctor_machine.examine_weights(homes)
        assert line_of(lines, weights.purpose).endswith(f': {checkpoints / weights.name}')
        (checkpoints / weights.name).unlink()


def test_the_files_that_count_for_fid_kid_lpips_and_the_perceptual_loss():
    names = {weights.name: weights.purpose for weights in doctor_machine.WEIGHTS}
    assert 'FID' in names['inception-2015-12-05.pt']
    assert 'FID' in names['pt_inception-2015-12-05-6726825d.pth']
    assert 'perceptual' in names['vgg19-dcbb9e9d.pth']
    assert len(names) == 3
    purposes = {name: file.purpose for name, file in KNOWN.items()}
    assert 'FID and KID' in purposes['pt_inception-2015-12-05-6726825d.pth']
    assert 'AlexNet' in purposes['alexnet-owt-7be5be79.pth']
    assert 'VGG' in purposes['vgg16-397923af.pth']
    assert 'SqueezeNet' in purposes['squeezenet1_1-b8a52dc0.pth']
    assert len(purposes) == 4


@pytest.mark.parametrize('named', [False, True])
def test_weights_of_metrics(named: bool, tmp_path: Path, homes: dict, monkeypatch):
    folder = tmp_path / 'my metrics' if named else tmp_path / 'torch' / 'hub' / 'checkpoints'
    environment = {**homes, 'MEA_METRIC_WEIGHTS': str(folder)} if named else homes
    folder.mkdir(parents=True)
    lines, findings = doctor_machine.examine_metric_weights(environment)
    assert str(folder) in lines[0]
    assert findings == []
    commands = [line.removeprefix('  -> ') for line in lines if line.startswith('  -> curl')]
    for (name, file), command in zip(KNOWN.items(), commands, strict=True):
        check_command(command)
        assert command.endswith(f'{folder / name}{chr(39) * named} {file.url}')
        assert line_of(lines, file.purpose).endswith(f'no {name}; they read n/a without it')
    for name, file in KNOWN.items():
        content = name.encode()
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(KNOWN, name, file._replace(size=len(content), sha256=digest))
        (folder / name).write_bytes(content)
        lines, findings = doctor_machine.examine_metric_weights(environment)
        assert line_of(lines, file.purpose).endswith(f': {folder / name}')
        assert findings == []
        for wrong in (content[1:], b'x' + content[1:]):
            (folder / name).write_bytes(wrong)
            _, (finding,) = doctor_machine.examine_metric_weights(environment)
            assert finding.serious
            assert finding.what.startswith(f'{folder / name} has ')
            check_command(finding.do)
        (folder / name).unlink()


def test_missing_weights_come_with_the_command_that_brings_them(tmp_path: Path, homes: dict):
    lines, _ = doctor_machine.examine_weights(homes)
    commands = [line.removeprefix('  -> ') for line in lines if line.startswith('  -> curl')]
    assert len(commands) == len(doctor_machine.WEIGHTS)
    for weights, command in zip(doctor_machine.WEIGHTS, commands, strict=True):
        check_command(command)
        home = 'home/.cache/openmmlab/mmagic' if weights.mmagic else 'torch/hub/checkpoints'
        assert f'-o {tmp_path / home / weights.name} https://' in command
        assert command.endswith(f'/{weights.name}')


def test_weights_of_named_folders(tmp_path: Path, homes: dict):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'inception-2015-12-05.pt').touch()
    named = {**homes, 'MEA_WEIGHTS': f'{tmp_path / "a"}:{tmp_path / "b"}'}
    lines, (finding,) = doctor_machine.examine_weights(named)
    assert line_of(lines, 'FID as MMagic').endswith(str(tmp_path / 'b' / 'inception-2015-12-05.pt'))
    assert not finding.serious
    assert finding.do == f'mkdir -p {tmp_path / "a"}'


def test_a_part_of_lpips_that_is_missing(tmp_path: Path, homes: dict, monkeypatch):
    def missing() -> list[str]:
        return [line for line in doctor_machine.examine_metric_weights(homes)[0] if 'the package lpips brings' in line]

    (tmp_path / 'lpips' / 'weights' / 'v0.1').mkdir(parents=True)
    (tmp_path / 'lpips' / '__init__.py').touch()
    for name in ('vgg.pth', 'squeeze.pth'):
        (tmp_path / 'lpips' / 'weights' / 'v0.1' / name).touch()
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'lpips', raising=False)
    (line,) = missing()
    assert 'alex.pth' in line
    (tmp_path / 'lpips' / 'weights' / 'v0.1' / 'alex.pth').touch()
    assert missing() == []


def test_the_hub_folder_is_torchs():
    import torch

    assert doctor_machine.hub_folder(os.environ) == Path(torch.hub.get_dir()) / 'checkpoints'
    assert doctor_machine.hub_folder({'TORCH_HOME': '/x'}) == Path('/x/hub/checkpoints')


@pytest.mark.parametrize(
    ('names', 'built', 'environment', 'do'),
    [
        (['A', 'A'], '13.0', {}, None),
        ([], '13.0', {}, '--torch-backend=auto'),
        ([], '13.0', {'CUDA_VISIBLE_DEVICES': ''}, 'unset CUDA_VISIBLE_DEVICES'),
        ([], None, {}, '--torch-backend=auto'),
    ],
)
def test_gpus(names: list, built, environment: dict, do, monkeypatch):
    import torch

    monkeypatch.setattr(torch.version, 'cuda', built)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(names))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(names))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: names[index])
    monkeypatch.setattr(doctor_machine.shutil, 'which', lambda name: '/usr/bin/nvidia-smi')
    line, findings = doctor_machine.examine_gpu(SOUND, environment)
    assert line.startswith('GPU: 2 (A)' if names else 'GPU: none')
    assert [do in finding.do for finding in findings] == ([] if do is None else [True])
    for finding in findings:
        assert not finding.serious
        check_command(finding.do)


def test_a_torch_that_does_not_import_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    _, (finding,) = doctor_machine.examine_gpu({'torch': '2.1.2'}, {})
    assert finding.serious
    assert 'does not import' in finding.what
    assert "install torch==2.1.2 'torchvision==0.16.*'" in finding.do
    check_command(finding.do)


def test_a_torch_that_is_not_installed_is_no_second_finding():
    assert doctor_machine.examine_gpu({}, {}) == ('GPU: unknown, torch is not installed', [])
