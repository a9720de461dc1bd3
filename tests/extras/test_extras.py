"""Every extra holds alone, every tool's --help needs no package, and the docs say which tool needs which extra."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mea_plugin.core.cli import run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import check_installed, import_optional, lacking, require_packages, to_install
from mea_plugin.doctor.needs import NEEDS
from tests.extras.check import CHECKS, STAND_INS, closure, declared, normal
from tests.helpers import ROOT

TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py'))
ABSENT = 'no_such_package_anywhere'


@pytest.mark.parametrize('tool', TOOLS)
def test_help_needs_no_package(tool):
    command = [sys.executable, '-S', str(ROOT / 'tools' / f'{tool}.py'), '--help']
    done = subprocess.run(command, env={'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('usage: ')


@pytest.mark.parametrize(
    'extra', [pytest.param(extra, marks=pytest.mark.slow if extra in ('basicsr', 'mmagic') else ()) for extra in CHECKS]
)
def test_an_extra_holds_alone(extra, tmp_path):
    if not {normal(re.split('[<>=]', each)[0]) for each in declared()[1].get(extra, [])} <= installed():
        pytest.skip(f'the packages of {extra} are not installed')
    command = [sys.executable, str(ROOT / 'tests' / 'extras' / 'check.py'), extra, str(tmp_path), '--alone']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f'{extra}: holds alone\n')


def installed() -> set[str]:
    """The distributions that are installed here."""
    from importlib import metadata

    return {normal(one.metadata['Name']) for one in metadata.distributions()}


def test_what_is_hidden_is_what_an_extra_does_not_bring():
    required, extras = declared()
    core = closure(required)
    assert {'torch', 'numpy', 'scipy'} <= core
    assert not core & {
        'basicsr',
        'mmagic',
        'httpx',
        'tenacity',
        'fastapi',
        'matplotlib',
        'lmdb',
        'opencv-python-headless',
    }
    assert {'httpx', 'tenacity', 'anyio'} <= closure(extras['http'])


def test_each_need_is_in_the_extra_that_is_said_to_bring_it():
    required, extras = declared()
    for need in NEEDS:
        if need.extra and lacking(*(['basicsr'] if need.extra == 'basicsr' else [])) == []:
            brought = closure([*required, *extras[need.extra]]) | {normal(name) for name in STAND_INS}
            for choice in need.distributions:
                names = {normal(name) for name in choice.split(' or ')}
                # MMagic asks for no mmcv: naming one would overwrite the other (setup.py).
                assert names & brought or 'mmcv' in names, (need.who, choice)


def test_the_docs_have_the_same_table():
    text = (ROOT / 'docs' / 'install.md').read_text(encoding='utf-8')
    for need in NEEDS:
        extra = f'`{need.extra}`' if need.extra else 'none'
        assert f'| {need.who} | {extra} |' in text
    assert {need.extra for need in NEEDS} - {''} == set(CHECKS) - {'core'}


def test_no_message_names_a_package_that_is_not_registered():
    found = [
        str(path)
        for folder in ('mea_plugin', 'tools', 'docs', 'requirements')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.md', '.sh') and re.search(r'pip install ["\']?mea_plugin', path.read_text('utf-8'))
    ]
    assert found == []


def test_export_says_what_it_can_write():
    from mea_plugin.export.exporter import FORMATS, TOLERANCE

    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'export.py'), '--help'], capture_output=True, text=True, check=True
    )
    shown = ' '.join(done.stdout.split())
    assert f'some of {", ".join(FORMATS)}' in shown
    assert f'(default: {TOLERANCE})' in shown


def test_what_to_type():
    assert to_install('cv2', 'mmcv', 'httpx') == 'pip install opencv-python-headless mmcv-lite==2.1.0 httpx'
    assert to_install('PIL.Image') == 'pip install Pillow'
    assert lacking('json', ABSENT) == [ABSENT]


@pytest.mark.parametrize('ask', [lambda: require_packages('x', 'json', ABSENT), lambda: import_optional(ABSENT, 'x')])
def test_a_missing_package_is_a_users_mistake(ask):
    with pytest.raises(InputError) as refused:
        ask()
    assert ABSENT in refused.value.what
    assert refused.value.do.endswith(f'pip install {ABSENT}')


def test_a_tool_without_its_packages_ends_in_one_line(capsys):
    assert run_tool(lambda argv: check_installed('json', ABSENT, 'cv_none'), []) == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1
    assert f'pip install {ABSENT} cv_none' in said


def test_a_part_that_is_missing_of_what_is_there_keeps_its_traceback():
    with pytest.raises(ModuleNotFoundError):
        run_tool(lambda argv: __import__('json.no_such_part'), [])


BROKEN = """
import sys
from mea_plugin.toolboxes.mediapipe_compat import hide_broken_mediapipe, mediapipe_lacks_solutions
assert mediapipe_lacks_solutions()
hide_broken_mediapipe()
from controlnet_aux.mediapipe_face import mediapipe_face_common
assert mediapipe_face_common.mp is None
import mediapipe
assert mediapipe.here
"""


def test_a_module_sees_no_mediapipe_that_lacks_solutions(tmp_path: Path):
    for name, text in {
        'mediapipe/__init__.py': 'here = True\n',
        'controlnet_aux/__init__.py': '',
        'controlnet_aux/mediapipe_face/__init__.py': '',
        'controlnet_aux/mediapipe_face/mediapipe_face_common.py': (
            'try:\n    import mediapipe as mp\nexcept ImportError:\n    mp = None\nif mp:\n    mp.solutions\n'
        ),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {'PYTHONPATH': f'{tmp_path}:{ROOT}'}
    done = subprocess.run([sys.executable, '-c', BROKEN], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')
