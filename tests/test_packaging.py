"""The package as it installs, and the pinned environments it is tested in."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LOCKS = ['modern-py310', 'modern-py311', 'modern-py312', 'classic-py311']
PIN = re.compile(r'^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][0-9a-z.]*)(?P<marker> ; [^/@]+)?$')


def pins(root: Path, lock: str) -> list[re.Match]:
    """The pins of a lock file; a line that is neither a pin nor a comment fails here."""
    lines = (root / 'requirements' / f'{lock}.txt').read_text().splitlines()
    found = [(line, PIN.match(line)) for line in lines if line.strip() and not line.startswith('#')]
    assert found
    assert [line for line, match in found if match is None] == []
    return [match for _, match in found]


@pytest.fixture(scope='module')
def distribution(root: Path) -> dict:
    """What setup.py declares, and the files it would install."""
    script = (
        'import json; from distutils.core import run_setup\n'
        "dist = run_setup('setup.py', stop_after='init')\n"
        "build = dist.get_command_obj('build_py'); build.ensure_finalized()\n"
        'files = [path for _, _, path in build.find_all_modules()]\n'
        "files += [f'{folder}/{name}' for _, folder, _, names in build.data_files for name in names]\n"
        'print(json.dumps({"files": files, "version": dist.metadata.version, "python": str(dist.python_requires),\n'
        '                  "extras": dist.extras_require, "requires": dist.install_requires}))'
    )
    command = [sys.executable, '-c', 'import setuptools\n' + script]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.every_environment
def test_import_is_light(root: Path):
    script = (
        'import sys, mea_plugin; heavy = {"torch", "numpy", "basicsr", "mmagic", "mmengine", "mmcv", "cv2"}; '
        'print(sorted(heavy & set(sys.modules)), mea_plugin.__version__)'
    )
    env = {**os.environ, 'PYTHONPATH': str(root)}
    result = subprocess.run([sys.executable, '-c', script], env=env, capture_output=True, text=True, check=True)
    assert re.fullmatch(r'\[\] \d+\.\d+\.\d+\S*', result.stdout.strip())


def test_setup_reads_the_packages_version(distribution: dict):
    import mea_plugin

    assert distribution['version'] == mea_plugin.__version__


def test_setup_declares_the_extras_and_bounds(distribution: dict):
    assert {'basicsr', 'mmagic', 'serve', 'report', 'dev'} <= set(distribution['extras'])
    assert distribution['python'] == '>=3.10'
    assert 'torch>=2.1' in distribution['requires']
    everything = [*distribution['requires'], *itertools.chain(*distribution['extras'].values())]
    # Two distributions each would overwrite the user's other one: see setup.py and requirements/left-out.txt.
    assert not [name for name in everything if name.startswith(('mmcv', 'opencv'))]


def test_every_file_of_the_package_is_installed(distribution: dict, root: Path):
    here = {
        path.relative_to(root).as_posix()
        for path in (root / 'mea_plugin').rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert 'mea_plugin/py.typed' in here
    assert here - set(distribution['files']) == set()


@pytest.mark.parametrize('lock', LOCKS)
def test_a_lock_pins_each_distribution_once(root: Path, lock: str):
    names = [pin['name'] for pin in pins(root, lock)]
    assert len(names) == len(set(names))
    assert {'torch', 'torchvision', 'numpy', 'basicsr', 'mmagic', 'mmengine', 'setuptools'} <= set(names)
    assert not [pin.string for pin in pins(root, lock) if re.search('[a-z]', pin['version'])], 'a pre-release'


@pytest.mark.parametrize('lock', LOCKS)
def test_no_two_distributions_of_a_lock_install_one_module(root: Path, lock: str):
    names = {pin['name'] for pin in pins(root, lock)}
    assert [name for name in names if name.startswith('opencv')] == ['opencv-python-headless']
    assert [name for name in names if name.startswith('mmcv')] == ['mmcv-lite']
    assert names & {'tensorboard', 'tb-nightly'} == {'tensorboard'}


@pytest.mark.parametrize('lock', LOCKS)
def test_the_tools_agree_with_the_locks(root: Path, lock: str):
    """dev.txt goes on top of every lock, so what is in both must be of one version."""
    locked = {pin['name']: pin['version'] for pin in pins(root, lock)}
    tools = pins(root, 'dev')
    assert {'pytest', 'hypothesis', 'ruff', 'mypy', 'ptwt'} <= {pin['name'] for pin in tools}
    assert [pin.string for pin in tools if locked.get(pin['name'], pin['version']) != pin['version']] == []


def test_make_has_the_targets_and_ci_calls_only_them(root: Path):
    targets = set(re.findall(r'^([a-z-]+):', (root / 'Makefile').read_text(), flags=re.MULTILINE))
    assert {'help', 'demo', 'test', 'test-fast', 'test-classic', 'lint', 'clean', 'bench', 'chromium'} <= targets
    lines = [line.split('#')[0].split() for line in (root / '.ci' / 'run').read_text().splitlines()]
    commands = [' '.join(words) for words in lines if words and words[0] not in ('set', 'cd')]
    assert commands == [
        '{ timeout 300 make chromium || true; } &',  # without it the tests of the report skip
        'make -j2 --output-sync=target lint env-classic',
        'wait',
        'make test test-classic',
    ]


def test_make_help_lists_the_targets(root: Path):
    result = subprocess.run(['make', '-s', '-C', str(root)], capture_output=True, text=True, check=True)
    assert re.search(r'^  demo +Extract', result.stdout, flags=re.MULTILINE)


def fake_python(path: Path, version: str, code: int = 0) -> None:
    """A stand-in for an interpreter: tells its version, and says with what it was called."""
    path.write_text(
        '#!/bin/sh\n'
        f'if [ {code} != 0 ]; then echo "shim: not selected" >&2; exit {code}; fi\n'
        f'if [ "$1" = -c ]; then echo {version}; else echo "{path.name} runs $2 $3"; fi\n'
    )
    path.chmod(0o755)


def find_python(root: Path, folder: Path, kind: str, **variables: str) -> subprocess.CompletedProcess:
    path = f'{folder}{os.pathsep}/usr/bin{os.pathsep}/bin'
    command = ['sh', str(root / 'requirements' / 'env.sh'), kind, str(folder / 'env')]
    return subprocess.run(command, env={'PATH': path, **variables}, capture_output=True, text=True, check=False)


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """A folder with one Python of each name that env.sh looks for: the last is of a usable version, no other is."""
    for name, version, code in [
        ('python3.11', '311', 127),  # a pyenv shim for a version that is not selected
        ('python3.12', '312', 127),
        ('python3.10', '310', 127),
        ('python3', '313', 0),
        ('python', '312', 0),
    ]:
        fake_python(tmp_path / name, version, code)
    return tmp_path


def test_a_python_that_does_not_run_or_has_no_lock_is_passed_over(root: Path, pythons: Path):
    result = find_python(root, pythons, 'modern')
    assert result.stdout == f'python runs modern {pythons}/env\n'


def test_the_environments_own_python_is_kept(root: Path, pythons: Path):
    (pythons / 'env' / 'bin').mkdir(parents=True)
    fake_python(pythons / 'env' / 'bin' / 'python', '310')
    fake_python(pythons / 'python3.11', '311')
    assert find_python(root, pythons, 'modern').stdout == f'python runs modern {pythons}/env\n'
    chosen = find_python(root, pythons, 'modern', PYTHON='python3.11')
    assert chosen.stdout == f'python3.11 runs modern {pythons}/env\n'


@pytest.mark.parametrize('variables', [{}, {'PYTHON': 'python3'}, {'PYTHON': 'nowhere/python'}])
def test_without_a_usable_python_one_line_says_so(root: Path, pythons: Path, variables: dict):
    result = find_python(root, pythons, 'classic', **variables)
    assert result.returncode == 2
    assert result.stderr.count('\n') == 1
    assert re.match(r'error: .*classic.* 3\.11', result.stderr)
    assert variables.get('PYTHON', '') in result.stderr


@pytest.fixture(scope='module')
def make_env(root: Path):
    spec = importlib.util.spec_from_file_location('make_env', root / 'requirements' / 'make_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(make_env, tmp_path: Path):
    """An environment whose parts are made in no time: each leaves its name in ``log``, unless told to break."""

    class Fake(make_env.Environment):
        log: list[str] = []  # noqa: RUF012 - replaced below
        broken = ''

        def _note(self, name: str) -> None:
            (self.folder / name).write_text('')
            if name == self.broken:
                raise make_env.EnvError('broken')
            self.log.append(name)

        def _create(self) -> None:
            (self.folder / make_env.OURS).mkdir(parents=True)
            self.python.parent.mkdir()
            self.python.symlink_to(sys.executable)

        def _install_base(self) -> None:
            self._note('base')

        def _install_package(self) -> None:
            self._note('package')

        def _install_dev(self) -> None:
            self._note('dev')

    lock = tmp_path / 'lock.txt'
    lock.write_text('torch==1\n')
    fake = Fake(tmp_path / 'env', lock, use_uv=False)
    fake.log = []
    return fake


def test_an_environment_is_made_once(environment):
    assert environment.bring_up_to_date(dev=False) == ['base', 'package']
    assert environment.bring_up_to_date(dev=True) == ['dev']
    assert environment.bring_up_to_date(dev=False) == []
    assert environment.bring_up_to_date(dev=True) == []
    assert environment.log == ['base', 'package', 'dev']


@pytest.mark.parametrize('part', ['base', 'package', 'dev'])
def test_an_interrupted_part_is_done_again(make_env, environment, part: str):
    parts = ['base', 'package', 'dev']
    environment.broken = part
    with pytest.raises(make_env.EnvError, match='broken'):
        environment.bring_up_to_date(dev=True)
    environment.broken = ''
    if part == 'base':
        (environment.folder / 'half-installed').mkdir()
    assert environment.bring_up_to_date(dev=True) == parts[parts.index(part) :]
    assert not (environment.folder / 'half-installed').exists()


def test_a_changed_lock_or_a_lost_python_starts_afresh(environment):
    environment.bring_up_to_date(dev=True)
    environment.lock.write_text('torch==2\n')
    assert environment.bring_up_to_date(dev=False) == ['base', 'package']
    assert environment.bring_up_to_date(dev=True) == ['dev']
    environment.python.unlink()
    environment.python.symlink_to(environment.folder / 'gone')
    assert environment.bring_up_to_date(dev=False) == ['base', 'package']


def test_a_folder_of_someone_else_is_left_alone(make_env, environment):
    environment.folder.mkdir()
    (environment.folder / 'pyvenv.cfg').write_text('')
    with pytest.raises(make_env.EnvError, match=re.escape(str(environment.folder))):
        environment.bring_up_to_date(dev=False)
    assert (environment.folder / 'pyvenv.cfg').exists()


def test_a_version_without_a_lock_is_refused(make_env):
    assert make_env.lock_for('classic', (3, 11)).name == 'classic-py311.txt'
    with pytest.raises(make_env.EnvError, match=r'classic-py312\.txt.*classic-py311'):
        make_env.lock_for('classic', (3, 12))


def test_without_the_venv_module_it_says_what_to_install(make_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "ensurepip is not available"\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(make_env, 'BASE', str(python))
    environment = make_env.Environment(tmp_path / 'env', tmp_path, use_uv=False)
    with pytest.raises(make_env.EnvError, match=r'apt install python3\.\d+-venv\nensurepip is not available'):
        environment._create()
