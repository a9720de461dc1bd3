"""Serves the embedded victim and extracts it over HTTP: two tools that know nothing of each other but an address.

python -m mea_plugin.serving.demo
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from mea_plugin.core.cli import run_tool
from mea_plugin.core.errors import InputError

__all__ = ['main']

_ROOT = Path(__file__).resolve().parents[2]
_SERVE = [sys.executable, 'tools/serve.py', '-opt', 'options/serve/demo.yml']
_EXTRACT = [sys.executable, '-W', 'ignore', 'tools/extract.py', '-opt', 'options/extract/demo_api.yml']
_STATUS = [sys.executable, 'tools/query.py', '-opt', 'options/extract/demo_api.yml', '--status']


def main(argv: object = None) -> None:
    """Start the service with a new key, extract, show both sides' books, stop the service.

    Raises:
        InputError: One of the tools ended with an error, which it has printed.
    """
    customer = f'demo-{secrets.token_hex(4)}'
    key = _run([*_SERVE, '--create-key', customer, '--quota', '100'], capture=True).strip()
    with subprocess.Popen(_SERVE, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            print(service.stdout.readline().strip() or _failed(service), flush=True)
            environment = {**os.environ, 'MEA_API_KEY': key}
            _run(_EXTRACT, environment)
            print('\nWhat the attacker has noted:')
            _run(_STATUS, environment)
            print('\nWhat the service has billed (name, bills, limits):')
            print(next(line for line in _run([*_SERVE, '--list-keys'], capture=True).splitlines() if customer in line))
        finally:
            service.terminate()
            service.wait(60)


def _failed(service: subprocess.Popen) -> str:
    raise InputError(f'the service did not start (exit code {service.wait(60)})', where=' '.join(_SERVE[1:]))


def _run(command: list[str], environment: dict[str, str] | None = None, *, capture: bool = False) -> str:
    ended = subprocess.run(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE if capture else None, stderr=None, text=True
    )
    if ended.returncode:
        raise InputError(f'ended with exit code {ended.returncode}', where=' '.join(command[1:4]))
    return ended.stdout or ''


if __name__ == '__main__':
    sys.exit(run_tool(main))
