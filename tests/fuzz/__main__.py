"""Fuzz every reader of untrusted bytes in turn, guided by coverage; exit code 1 when one does not refuse as it should.

What makes a reader fail is kept in FOLDER/READER; put it into tests/fuzz/corpus/READER, where it becomes a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.readers import READERS, ROOT

MEMORY = 3000
"""MiB that a reader may take, torch's own included."""
SECONDS = 10
"""For one input, after which a reader counts as hanging."""


def main() -> int:
    """Fuzz, print one line a reader, and how many failed."""
    parser = argparse.ArgumentParser(prog='python -m tests.fuzz', description=__doc__)
    parser.add_argument('readers', nargs='*', metavar='READER', help=f'of {", ".join(READERS)}; all by default')
    parser.add_argument('--minutes', type=float, default=5.0, help='for all together (5)')
    parser.add_argument('--folder', type=Path, default=Path('results/fuzz'), help='for inputs (results/fuzz)')
    args = parser.parse_args()
    if importlib.util.find_spec('atheris') is None:
        parser.error('atheris is not installed. Type: python -m pip install atheris')
    names = args.readers or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f'no reader is called {", ".join(sorted(unknown))}')
    failed = [name for name in names if not _fuzz(name, args.minutes * 60 / len(names), args.folder)]
    print(f'{len(names) - len(failed)} of {len(names)} readers held' + (f'; not {", ".join(failed)}' if failed else ''))
    return int(bool(failed))


def _fuzz(name: str, seconds: float, folder: Path) -> bool:
    kept = folder.resolve() / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='corpus-') as corpus:
        seeds = [
            *READERS[name].examples(),
            *(path.read_bytes() for path in (ROOT / 'tests/fuzz/corpus' / name).glob('*')),
        ]
        for index, data in enumerate(seeds):
            (Path(corpus) / f'{index:03d}').write_bytes(data)
        command = [
            *(sys.executable, '-m', 'tests.fuzz.target', name, corpus),
            *(f'-max_total_time={max(round(seconds), 1)}', f'-artifact_prefix={kept}/', f'-rss_limit_mb={MEMORY}'),
            *(f'-timeout={SECONDS}', '-max_len=65536', '-print_final_stats=1'),
        ]
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors='replace', timeout=seconds + 300
        )
    said = done.stdout + done.stderr
    runs, covered = re.search(r'number_of_executed_units: (\d+)', said), re.findall(r'cov: (\d+)', said)
    print(f'{name}: {runs.group(1) if runs else "?"} inputs, {covered[-1] if covered else "?"} branches', flush=True)
    if done.returncode:
        # Not the progress of libFuzzer, but what went wrong.
        print('\n'.join(line for line in said.splitlines() if not re.match(r'#\d+\s|INFO|stat::', line))[-4000:])
    return done.returncode == 0


if __name__ == '__main__':
    sys.exit(main())
