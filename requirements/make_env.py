"""Make one of the project's pinned environments, or bring it up to date; the Makefile calls this.

    python requirements/make_env.py modern .venv [--dev]

Runs under the Python that the environment is to have (env.sh finds one), and needs nothing else. What is done is
recorded in the environment, each part under a hash of what it was made from, and only after it succeeded: a second
run finds the hashes and ends at once, and what an interrupted run left is never taken for whole. ``MEA_NO_UV=1``
installs with plain pip.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ['EnvError', 'Environment', 'lock_for', 'main']

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
UV = 'uv>=0.4'
OURS = '.made-by-mea'
# The Python to make environments from. When this runs under the environment that it is about to remove, that is the
# Python which that one was made from; asked for now, while its link is still there.
BASE = sys.executable if sys.prefix == sys.base_prefix else os.path.realpath(sys.executable)


class EnvError(Exception):
    """The environment cannot be made; the text says what is wrong and what to do."""


def lock_for(kind: str, python: tuple[int, int]) -> Path:
    """The lock file of an environment's kind for a Python version.

    Args:
        kind: ``modern`` or ``classic``.
        python: Major and minor version.

    Raises:
        EnvError: There is no such lock file.
    """
    lock = HERE / f'{kind}-py{python[0]}{python[1]}.txt'
    if not lock.is_file():
        known = ', '.join(sorted(p.stem for p in HERE.glob(f'{kind}-py*.txt'))) or 'none'
        raise EnvError(f'no lock {lock.name} for Python {python[0]}.{python[1]} (there are: {known})')
    return lock


def digest(*parts: str) -> str:
    """A hash of texts."""
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()


def requirement_lines(lock: Path) -> list[str]:
    """The requirements in a lock file, without its comments."""
    lines = (line.strip() for line in lock.read_text(encoding='utf-8').splitlines())
    return [line for line in lines if line and not line.startswith('#')]


class Environment:
    """A virtual environment made and owned by this script.

    Args:
        folder: Where it lies, or is to lie.
        lock: The lock file that it holds.
        use_uv: Install with uv where uv can be had.
    """

    def __init__(self, folder: Path, lock: Path, *, use_uv: bool) -> None:
        self.folder = folder
        self.lock = lock
        self.use_uv = use_uv
        self.python = folder / 'bin' / 'python'
        self._installer: list[str] | None = None

    def bring_up_to_date(self, *, dev: bool) -> list[str]:
        """Do what is missing, and return the names of the parts that were done."""
        python = f'{sys.version_info[0]}.{sys.version_info[1]}'
        package = [(ROOT / name).read_text(encoding='utf-8') for name in ('setup.py', 'mea_plugin/__init__.py')]
        parts = [
            ('base', digest(python, *requirement_lines(self.lock)), self._make_base),
            ('package', digest(str(ROOT), *package), self._install_package),
        ]
        if dev:
            parts.append(('dev', digest(*requirement_lines(HERE / 'dev.txt')), self._install_dev))
        done = []
        for name, key, install in parts:
            if not self._is_done(name, key):
                install()
                self._stamp(name).write_text(key, encoding='utf-8')
                done.append(name)
        return done

    def _stamp(self, name: str) -> Path:
        return self.folder / OURS / name

    def _is_done(self, name: str, key: str) -> bool:
        stamp = self._stamp(name)
        done = stamp.is_file() and stamp.read_text(encoding='utf-8') == key
        return done and (name != 'base' or answers(self.python))

    def _make_base(self) -> None:
        """Make the environment from nothing: what an interrupted run or an older lock left cannot be trusted.

        What was downloaded is in the installer's cache, so that starting afresh does not download it again.
        """
        if self.folder.exists():
            self._remove()
        self._create()
        self._install_base()

    def _remove(self) -> None:
        """Remove the environment; the mark that it is ours goes last, so that an interrupted removal can go on."""
        if not (self.folder / OURS).is_dir() and any(self.folder.iterdir()):
            raise EnvError(f'{self.folder} was not made by this Makefile; move it away, then run make again')
        if self._stamp('base').is_file():
            say(f'{self.folder.name}: {self.lock.name} or its Python changed; starting afresh')
        for entry in sorted(self.folder.iterdir(), key=lambda path: path.name == OURS):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.folder.rmdir()

    def _create(self) -> None:
        (self.folder / OURS).mkdir(parents=True)
        say(f'{self.folder.name}: Python {sys.version.split()[0]} ({BASE})')
        result = subprocess.run([BASE, '-m', 'venv', str(self.folder)], capture_output=True, text=True, check=False)
        if result.returncode:
            raise EnvError(
                f'{BASE} cannot make a virtual environment; on Debian and Ubuntu: apt install '
                f'python{sys.version_info[0]}.{sys.version_info[1]}-venv\n{(result.stdout + result.stderr).strip()}'
            )

    def _install_base(self) -> None:
        say(f'{self.folder.name}: installing {self.lock.name} (5 GB; this takes minutes the first time)')
        lines = requirement_lines(self.lock)
        # basicsr is built, and its build asks for torch, numpy and cython, which it does not use: with the pinned
        # setuptools already here, and no isolation, nothing is downloaded for it.
        self._install(*[line for line in lines if line.startswith('setuptools==')])
        self._install('-r', str(self.lock))

    def _install_package(self) -> None:
        self._install('--editable', str(ROOT))

    def _install_dev(self) -> None:
        say(f'{self.folder.name}: installing dev.txt')
        # Anew each time, so that nothing half-installed by an interrupted run stays.
        again = '--reinstall' if 'uv' in self._get_installer() else '--force-reinstall'
        self._install(again, '-r', str(HERE / 'dev.txt'))

    def _install(self, *what: str) -> None:
        command = [*self._get_installer(), '--no-deps', '--no-build-isolation', *what]
        if subprocess.run(command, check=False, cwd=ROOT, env=self._variables()).returncode:
            raise EnvError(f'installing into {self.folder.name} failed (above); run the same command again to go on')

    def _variables(self) -> dict[str, str]:
        """The process's variables, without those that would send packages elsewhere."""
        dropped = ('PIP_TARGET', 'PIP_PREFIX', 'PIP_USER', 'PYTHONPATH', 'PYTHONHOME', 'UV_SYSTEM_PYTHON')
        return {name: value for name, value in os.environ.items() if name not in dropped}

    def _get_installer(self) -> list[str]:
        if self._installer is None:
            pip = [str(self.python), '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
            uv = [str(self.python), '-m', 'uv', '--no-progress', 'pip', 'install', '--quiet']
            if self.use_uv and self._get_uv(pip):
                self._installer = [*uv, '--compile-bytecode', '--python', str(self.python)]
            else:
                say(f'{self.folder.name}: without uv; plain pip takes longer')
                # Without this, an old pip runs basicsr's setup.py directly, which downloads a torch of its own.
                self._installer = [*pip, '--use-pep517']
        return self._installer

    def _get_uv(self, pip: Sequence[str]) -> bool:
        if answers(self.python, '-m', 'uv', '--version'):
            return True
        command = [*pip, '--only-binary', ':all:', UV]
        return subprocess.run(command, capture_output=True, check=False, env=self._variables()).returncode == 0


def answers(python: Path, *args: str) -> bool:
    """Whether a Python runs; one whose own Python was removed is still a file."""
    try:
        return subprocess.run([python, *(args or ('-c', ''))], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def say(text: str) -> None:
    """Print one line at once, also through a pipe."""
    print(text, flush=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep two runs from working on one environment at once."""
    with folder.with_name(f'{folder.name}.lock').open('w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'{folder.name}: waiting for another make that works on it')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Bring one environment up to date; 0 when it is, 2 with a line that says why it cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kind', choices=['modern', 'classic'])
    parser.add_argument('folder', type=Path, help='where the environment lies, or is to lie')
    parser.add_argument('--dev', action='store_true', help='with the tools for tests and lint (dev.txt)')
    args = parser.parse_args(argv)
    start = time.monotonic()
    try:
        lock = lock_for(args.kind, sys.version_info[:2])
        folder = args.folder.absolute()
        with alone(folder):
            environment = Environment(folder, lock, use_uv=not os.environ.get('MEA_NO_UV'))
            done = environment.bring_up_to_date(dev=args.dev)
    except EnvError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; run the same command again to go on', file=sys.stderr)
        return 130
    if done:
        say(f'{folder.name}: {", ".join(done)} installed in {time.monotonic() - start:.0f} s')
    return 0


if __name__ == '__main__':
    sys.exit(main())
