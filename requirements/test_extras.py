"""Install each extra into a fresh environment, with nothing beside it, and do there what it promises.

    python requirements/test_extras.py [EXTRA ...]

Versions are those of the modern lock. Runs under a Python that there is a lock for; uv does the installing where it is
at hand, else pip. The environments lie in a temporary folder and are removed; the promises are in
tests/extras/check.py. Ends with 1 where one is not kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ['main']

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXTRAS = ('core', 'http', 'serve', 'files', 'metrics', 'report', 'basicsr', 'mmagic')
# MMagic needs mmcv and does not ask for it (docs/install.md).
BESIDE = {'mmagic': ['mmcv-lite==2.1.0']}


def main(names: list[str]) -> int:
    """Test some extras, or all, and return the exit code."""
    if unknown := set(names) - set(EXTRAS):
        print(f'error: no extra {", ".join(sorted(unknown))}. Known: {", ".join(EXTRAS)}.', file=sys.stderr)
        return 2
    lock = HERE / f'modern-py{sys.version_info[0]}{sys.version_info[1]}.txt'
    failed = [name for name in names or EXTRAS if not _holds(name, lock)]
    print(f'failed: {", ".join(failed)}' if failed else 'every extra holds alone')
    return 1 if failed else 0


def _holds(extra: str, lock: Path) -> bool:
    print(f'== {extra}', flush=True)
    with tempfile.TemporaryDirectory(prefix=f'mea-{extra}-') as place:
        python, install = _make(Path(place) / 'venv')
        package = str(ROOT) if extra == 'core' else f'{ROOT}[{extra}]'
        versions = ['-c', str(lock)]
        checks, made = ROOT / 'tests' / 'extras' / 'check.py', Path(place) / 'made'
        made.mkdir()
        commands = (
            # basicsr's build asks for torch; without isolation it takes the one that is there.
            [*install, *versions, 'torch', 'setuptools'],
            [*install, *versions, '--no-build-isolation', '-e', package, *BESIDE.get(extra, [])],
            [python, str(checks), extra, str(made)],
        )
        settings = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'VIRTUAL_ENV')}
        return all(subprocess.run(command, cwd=ROOT, env=settings, check=False).returncode == 0 for command in commands)


def _make(folder: Path) -> tuple[str, list[str]]:
    """An empty environment: its Python, and the command that installs into it."""
    subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
    python = str(folder / 'bin' / 'python')
    uv = [sys.executable, '-m', 'uv'] if _has_uv() else [found] if (found := shutil.which('uv')) else None
    if uv is None:
        return python, [python, '-m', 'pip', 'install', '--quiet']
    # tb-nightly, which basicsr asks for, has pre-releases only.
    return python, [*uv, 'pip', 'install', '--quiet', '--prerelease=allow', '--python', python]


def _has_uv() -> bool:
    return subprocess.run([sys.executable, '-m', 'uv', '--version'], capture_output=True, check=False).returncode == 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
