"""What results say about how they were made."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata

import mea_plugin
from mea_plugin.core.provenance import installed_packages, provenance


def test_a_result_begins_with_what_reproduces_it():
    made = provenance(('python', 'x.py'), {'name': 'study'})
    assert list(made) == ['command', 'options', 'packages', 'machine']
    assert json.loads(json.dumps(made)) == made
    assert made['command'] == ['python', 'x.py']
    assert made['options'] == {'name': 'study'}
    assert made['packages'] == installed_packages()
    assert {'processor', 'cores', 'threads', 'torch'} <= set(made['machine'])
    assert provenance(('python', 'x.py'), {'name': 'study'}) == made  # nothing of the moment


def test_versions_are_those_installed(monkeypatch):
    found = installed_packages()
    assert (found['mea_plugin'], found['python']) == (mea_plugin.__version__, platform.python_version())
    for package in ('numpy', 'scipy', 'Pillow', 'torch'):
        assert found[package] == metadata.version(package)

    def lost(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, 'version', lost)
    assert set(installed_packages()) == {'mea_plugin', 'python'}


def test_importing_it_is_light():
    code = "import sys, mea_plugin.core.provenance; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == 'False'
