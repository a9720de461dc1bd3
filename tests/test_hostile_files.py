"""Files that are made to cost much or to say something else: every tool ends with one short line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import ROOT
from tests.hostile_files import JSON, OPTION_FILES, RESULTS, YAML

_LONGEST = 30  # seconds of one call, on a busy machine and with the imports of the first


@pytest.fixture(scope='module')
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp('hostile')
    done = subprocess.run(
        [sys.executable, '-m', 'tests.hostile_files', str(folder)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0
    assert not (folder / 'hacked').exists()
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{')]


def test_each_is_refused_in_one_line(calls: list[dict[str, Any]]):
    assert len(calls) == len(OPTION_FILES) * len(YAML) + len(RESULTS) * len(JSON)
    for one in calls:
        assert one['code'] == 2, one
        lines = one['said'].splitlines()
        assert len(lines) == 1, one
        assert lines[0].startswith('error: '), one
        assert lines[0].isprintable(), one
        assert len(lines[0]) < 1500, one
        assert 'v' * 500 not in lines[0], one
        assert 'k' * 500 not in lines[0], one
        assert one['seconds'] < _LONGEST, one
