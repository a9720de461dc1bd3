"""tools/doctor.py: its exit codes, with what is installed here and with nothing installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mea_plugin.doctor.machine import python_to_type

pytestmark = pytest.mark.every_environment


def run_doctor(root: Path, *options: str, arguments: tuple = ()) -> subprocess.CompletedProcess:
    """The tool, in a Python with further options."""
    env = {**os.environ, 'PYTHONPATH': str(root)}
    command = [sys.executable, *options, str(root / 'tools' / 'doctor.py'), *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def test_the_tool_ends_with_0_where_nothing_is_serious(root: Path):
    result = run_doctor(root)
    assert (result.returncode, result.stderr) == (0, '')
    assert '\nbasicsr ' in result.stdout
    assert 'PROBLEM: ' not in result.stdout


def test_the_tool_runs_with_nothing_installed_and_ends_with_1(root: Path):
    result = run_doctor(root, '-S')  # without site-packages
    assert (result.returncode, result.stderr) == (1, '')
    assert 'GPU: unknown, torch is not installed' in result.stdout
    assert 'PROBLEM: torch is missing' in result.stdout
    python = python_to_type()
    assert f'  -> {python} -m pip install numpy\n' in result.stdout


def test_the_tool_ends_with_2_for_a_bad_argument(root: Path):
    result = run_doctor(root, '-S', arguments=('--nonsense',))
    assert (result.returncode, result.stdout) == (2, '')
    assert len(result.stderr.splitlines()) == 1
