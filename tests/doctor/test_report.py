"""The doctor: each clash that was met is found, and a sound environment is not accused."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mea_plugin.doctor.needs import NEEDS, examine_needs, needed_distributions
from mea_plugin.doctor.report import (
    SHOWN,
    Finding,
    examine,
    handled,
    installed_versions,
    report,
)
from mea_plugin.doctor.rules import HANDLED, RULES, SAME_FOLDER, stand_ins, version_of
from mea_plugin.toolboxes.mediapipe_compat import mediapipe_lacks_solutions
from tests.test_packaging import LOCKS, pins

pytestmark = pytest.mark.every_environment

SOUND = {
    'torch': '2.11.0+cu130',
    'torchvision': '0.26.0',
    'numpy': '2.4.6',
    'pydantic': '2.14.4',
    'pywavelets': '1.9.0',
    'pillow': '12.0.0',
    'pyyaml': '6.0.3',
    'scikit-image': '0.26.0',
    'scipy': '1.17.1',
    'tqdm': '4.67.1',
    'typing-extensions': '4.16.0',
    'isal': '1.9.1',
    'basicsr': '1.4.2',
    'mmagic': '1.2.0',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'diffusers': '0.24.0',
    'transformers': '4.36.2',
    'huggingface-hub': '0.25.2',
    'albumentations': '1.3.1',
    'controlnet-aux': '0.0.10',
    'lpips': '0.1.4',
    'opencv-python-headless': '5.0.0.93',
}
OLD_TORCH = {'torch': '2.1.2', 'torchvision': '0.16.2'}
CLASSIC = {**OLD_TORCH, 'numpy': '1.26.4', 'opencv-python-headless': '4.11.0.86'}
# What a command to type may begin with.
COMMANDS = {'python', 'make', 'mv', 'chmod', 'sudo', 'mkdir', 'unset', 'curl'}


def changed(change: dict) -> dict[str, str]:
    """The sound set with versions changed, or, where one is None, taken away."""
    return {name: version for name, version in {**SOUND, **change}.items() if version is not None}


def check_command(do: str) -> None:
    """A shell takes it, and each of its parts begins with a program."""
    subprocess.run(['sh', '-n', '-c', do], check=True)
    assert {part.split()[0] for part in do.split(' && ')} <= COMMANDS


@pytest.mark.parametrize('lock', LOCKS)
def test_the_locks_are_sound(root: Path, lock: str):
    versions = {pin['name']: pin['version'] for pin in pins(root, lock)}
    assert examine(versions, (3, int(lock[-2:]))) == []


@pytest.mark.parametrize(
    'change',
    [
        {},
        CLASSIC,
        {'torch': '2.1.2+cu121', 'torchvision': '0.16.2+cu121', 'numpy': '1.26.4', 'opencv-python-headless': '4.10'},
        {'mmcv-lite': None, 'mmcv': '2.0'},
        {'basicsr': None},
        dict.fromkeys(('mmagic', 'mmengine', 'mmcv-lite', 'diffusers', 'transformers', 'lpips')),
        # What is not known is not accused.
        {'basicsr': 'unknown', 'opencv-python-headless': None, 'opencv-python': 'unknown', 'mmcv-lite': 'dev'},
        {'torch': '3.1.0', 'torchvision': '0.90.0'},
    ],
)
def test_a_sound_set_is_not_accused(change: dict):
    assert examine(changed(change), (3, 11)) == []


def test_this_environment_has_no_clash():
    findings = examine(installed_versions(), sys.version_info[:2], mediapipe_broken=mediapipe_lacks_solutions())
    assert [finding for finding in findings if finding.serious] == []


@pytest.mark.parametrize(
    ('change', 'serious', 'what', 'do'),
    [
        ({'torch': None}, True, 'torch is missing', 'install torch torchvision'),
        ({**CLASSIC, 'torch': '2.0.1', 'torchvision': '0.15.2'}, True, 'older than 2.1', "--upgrade 'torch>=2.1'"),
        (OLD_TORCH, True, 'built for numpy 1 and fails with numpy 2', "install 'numpy<2'"),
        ({'torchvision': '0.16.2'}, True, 'torch 2.11.0+cu130 needs torchvision 0.26', "torch==2.11.0 'torchvision"),
        ({'torch': '2.11.0', 'torchvision': '0.25.0'}, True, 'not 0.25.0', "torch==2.11.0 'torchvision==0.26.*'"),
        ({**CLASSIC, 'torchvision': '0.26.0'}, True, '0.16, not 0.26.0', "torch==2.1.2 'torchvision==0.16.*'"),
        ({**CLASSIC, 'torchvision': None}, True, 'need torchvision', "torch==2.1.2 'torchvision==0.16.*'"),
        ({'numpy': None}, True, 'numpy is missing', 'install numpy'),
        ({**CLASSIC, 'numpy': None}, True, 'numpy is missing', "install 'numpy<2'"),
        ({'pywavelets': None}, True, 'pywavelets is missing', 'install pywavelets'),
        ({'pillow': None}, True, 'Pillow 10.1', "install 'pillow>=10.1'"),
        ({'pillow': '10.0.1'}, True, 'Pillow 10.1', "install 'pillow>=10.1'"),
        ({'pyyaml': None}, True, 'pyyaml is missing', 'install pyyaml'),
        ({'scikit-image': None}, True, 'scikit-image is missing', 'install scikit-image'),
        ({'scipy': None}, True, 'scipy is missing', 'install scipy'),
        ({'tqdm': None}, True, 'tqdm is missing', 'install tqdm'),
        ({'opencv-python-headless': None}, True, 'import cv2', 'install opencv-python-headless'),
        ({**CLASSIC, 'opencv-python-headless': None}, True, 'import cv2', "'opencv-python-headless<4.12'"),
        ({**CLASSIC, 'opencv-python-headless': '4.12.0.88'}, False, 'numpy 2', "'opencv-python-headless<4.12'"),
        (
            {**CLASSIC, 'opencv-python-headless': None, 'opencv-python': '5.0.0.93'},
            False,
            'OpenCV 4.12 and later ask for numpy 2',
            "'opencv-python<4.12'",
        ),
        ({'basicsr': '1.4.1'}, True, 'basicsr is older than 1.4.2', "'basicsr>=1.4.2'"),
        ({'mmagic': '1.1.0'}, True, 'mmagic 1.2', "'mmagic==1.2.*'"),
        ({'mmagic': '1.3.0'}, True, 'mmagic 1.2', "'mmagic==1.2.*'"),
        ({'mmengine': None}, True, 'mmagic needs mmengine', "'mmengine>=0.10,<1'"),
        ({'mmengine': '0.9.1'}, True, 'mmengine 0.10', "'mmengine>=0.10,<1'"),
        ({'mmengine': '1.0'}, True, 'refuses 1.0', "'mmengine>=0.10,<1'"),
        ({'mmcv-lite': None}, True, 'needs mmcv', 'mmcv-lite==2.1.0'),
        ({'mmcv-lite': None, 'mmcv': '2.2'}, True, 'mmagic refuses', "'mmcv>=2.0,<2.2'"),
        ({'mmcv-lite': '1.7.2'}, True, 'mmagic refuses', "'mmcv-lite>=2.0,<2.2'"),
        ({'mmcv': '2.1.0'}, False, 'mmcv, mmcv-lite all install `mmcv`', 'uninstall -y mmcv mmcv-lite && python -m'),
        ({'diffusers': None}, True, 'not import without diffusers', "'diffusers>=0.23,<0.25'"),
        ({'transformers': None}, True, 'not import without transformers', "'transformers>=4.27.4,<4.49'"),
        ({'albumentations': None}, True, 'not import without albumentations', 'albumentations==1.3.1'),
        ({'lpips': None}, True, 'not import without lpips', 'install lpips'),
        ({'diffusers': '0.25.1'}, True, 'diffusers 0.25', "'diffusers>=0.23,<0.25'"),
        ({'huggingface-hub': '0.36.0'}, True, 'huggingface-hub 0.26', "'huggingface-hub<0.26'"),
        ({'transformers': '4.49.0'}, True, 'transformers 4.49', "'transformers>=4.27.4,<4.49'"),
        ({'albumentations': '2.0.9'}, True, 'albumentations 2.0.9', "'albumentations<2.0.9'"),
        ({'pytorch-wavelets': '1.3.0', 'setuptools': '82.0.0'}, True, 'pkg_resources', "'setuptools<81'"),
        ({'opencv-python': '5.0.0.93'}, False, '`cv2`', '&& python -m pip install opencv-python==5.0.0.93'),
        ({'opencv-python': '4.10.0.84'}, True, '`cv2`', '&& python -m pip install opencv-python==4.10.0.84'),
        ({'tensorboard': '2.21.0', 'tb-nightly': '2.20.0a1'}, False, '`tensorboard`', 'install tensorboard==2.21.0'),
    ],
)
def test_one_change_gives_its_one_finding(change: dict, serious: bool, what: str, do: str):
    (finding,) = examine(changed(change), (3, 11))
    assert finding.serious is serious
    assert what in finding.what
    assert do in finding.do
    assert 'pip install' in finding.do
    check_command(finding.do)


@pytest.mark.parametrize('python', [(3, 9), (3, 13)])
def test_a_python_without_toolboxes(python: tuple):
    (finding,) = examine(SOUND, python)
    assert finding.serious
    assert f'Python 3.{python[1]}' in finding.what
    assert finding.do == 'make env PYTHON=python3.11'


def test_every_core_requirement_is_missed(root: Path):
    tree = ast.parse((root / 'setup.py').read_text())
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    names = [re.match('[A-Za-z-]+', requirement)[0].lower() for requirement in ast.literal_eval(values['CORE'])]
    assert {'torch', 'numpy', 'pywavelets'} <= set(names) <= set(SHOWN)
    for name in names:
        (finding,) = examine(changed({name: None}), (3, 11))
        assert finding.serious == (name != 'isal')  # without which everything works, more slowly
        assert f'{name} ' in finding.what.lower()


def test_rules_name_only_what_is_looked_for():
    known = {*SHOWN, *stand_ins(dict.fromkeys(SHOWN, '1'))}
    assert {name for rule in RULES for name in rule.when} <= known
    assert {name for when in HANDLED.values() for name in when} <= known
    assert {name for names in SAME_FOLDER.values() for name in names} <= known


def test_a_mediapipe_without_solutions_is_found():
    (finding,) = examine({**SOUND, 'mediapipe': '1.2.2'}, (3, 11), mediapipe_broken=True)
    assert finding.do == 'python -m pip uninstall -y mediapipe'
    assert examine(changed({'mmagic': None}), (3, 11), mediapipe_broken=True) == []


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


def test_toolboxes_without_metadata_count(tmp_path: Path, monkeypatch):
    (tmp_path / 'basicsr').mkdir()
    (tmp_path / 'basicsr' / '__init__.py').write_text('raise AssertionError')
    (tmp_path / 'mmagic').mkdir()  # a folder of that name is no package
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'basicsr', raising=False)
    monkeypatch.delitem(sys.modules, 'mmagic', raising=False)
    monkeypatch.setattr(metadata, 'distributions', lambda: iter(()))
    found = installed_versions()
    assert found['basicsr'] == 'unknown'
    assert 'mmagic' not in found


def test_what_a_tool_lacks_is_told():
    everything = dict.fromkeys(needed_distributions(), '1')
    assert examine_needs(everything) == []
    for need in NEEDS:
        for choice in need.distributions:
            without = {name: '1' for name in everything if name not in choice.split(' or ')}
            findings = [finding for finding in examine_needs(without) if finding.what.startswith(need.who)]
            (finding,) = findings
            assert not finding.serious
            check_command(finding.do)
            assert choice in finding.what or 'OpenCV' in finding.what
    (finding,) = (found for found in examine_needs(SOUND) if 'serve.py' in found.what)
    assert finding.do == 'python -m pip install fastapi prometheus-client python-multipart uvicorn'


def test_an_opencv_beside_numpy_1_is_an_old_one():
    told = [finding.do for finding in examine_needs({'numpy': '1.26.4'})]
    assert "python -m pip install 'opencv-python-headless<4.12'" in told


def test_what_is_handled_is_told_and_is_no_finding():
    told = ' '.join(handled(SOUND))
    for word in ('torchvision 0.17', 'numpy 2', 'torch 2.6', 'mmcv-lite'):
        assert word in told
    old = {**SOUND, 'torchvision': '0.16.2', 'numpy': '1.26.4', 'torch': '2.1.2', 'mmcv': '2.1.0'}
    old.pop('mmcv-lite')
    assert handled(old) == []
