"""--import: a module of the user's own, in the tool and in the processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.core.plugins import ENVIRONMENT, import_plugin


@pytest.fixture(autouse=True)
def _nothing_remains(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)
    monkeypatch.setenv(ENVIRONMENT, '')
    yield
    for name in set(sys.modules) - before:
        if name.startswith('mine_'):
            del sys.modules[name]


@pytest.fixture
def module(tmp_path):
    """Write a module; returns its file."""

    def write(name, source='VALUE = 1\n'):
        (tmp_path / f'{name}.py').write_text(source)
        return tmp_path / f'{name}.py'

    return write


def parse(*arguments):
    parser = ToolParser(prog='tool')
    commands = parser.add_subparsers()
    commands.add_parser('go').add_argument('--count', type=int)
    return parser.parse_args([str(argument) for argument in arguments])


def test_a_file_and_a_module_are_imported_before_the_rest_is_used(module, monkeypatch):
    file = module('mine_a')
    monkeypatch.syspath_prepend(str(module('mine_b').parent))
    assert vars(parse('--import', file, '--import', 'mine_b')) == {}
    assert sys.modules['mine_a'].VALUE == sys.modules['mine_b'].VALUE == 1
    assert os.environ[ENVIRONMENT].split(os.pathsep) == [str(file), 'mine_b']


def test_sub_commands_take_it_too(module):
    assert parse('--import', module('mine_c'), 'go', '--import', module('mine_d'), '--count', '2').count == 2
    assert {'mine_c', 'mine_d'} <= set(sys.modules)


def test_a_module_is_run_once_and_noted_once(module):
    file = module('mine_e', 'import os\nos.environ["MINE_E"] = os.environ.get("MINE_E", "") + "x"\n')
    for _ in range(2):
        import_plugin(str(file))
    assert os.environ.pop('MINE_E') == 'x'
    assert os.environ[ENVIRONMENT] == str(file)


def test_a_process_that_a_tool_starts_imports_the_same(module):
    import_plugin(str(module('mine_f', 'print("imported")\n')))
    child = 'from mea_plugin.core.cli import run_tool\nimport sys\nsys.exit(run_tool(lambda argv: print("main")))'
    ended = subprocess.run([sys.executable, '-c', child], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ['imported', 'main']


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        ('import nothing_of_this_name\n', 'nothing_of_this_name'),
        ('raise RuntimeError("out of\\nluck")\n', 'out of luck'),
        ('this is no Python\n', 'SyntaxError'),
        ("from mea_plugin.victims import register_victim\nregister_victim('onnx', print)\n", "'onnx'"),
    ],
)
def test_a_module_that_fails_is_one_line(module, source, reason, capsys):
    file = module('mine_g', source)
    assert run_tool(lambda argv: parse('--import', file)) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert str(file) in error
    assert reason in error
    assert not os.environ[ENVIRONMENT]


@pytest.mark.parametrize('name', ['no_such_package', 'mea_plugin.no_such_module', 'nowhere/mine.py', 'no-name'])
def test_a_module_that_is_not_there(name):
    with pytest.raises(InputError) as refused:
        import_plugin(name)
    assert refused.value.where == '--import'
    assert name in refused.value.what
    assert refused.value.do


@pytest.mark.parametrize('name', ['json', 'torch', 'mine.h'])
def test_a_file_with_a_name_that_python_cannot_use(module, name):
    file = module(name)
    with pytest.raises(InputError) as refused:
        import_plugin(str(file))
    assert str(file) in refused.value.what
    assert 'Rename' in refused.value.do


@pytest.mark.parametrize(('toolbox', 'adapter'), [('basicsr', 'mea_plugin.basicsr'), ('mmagic', 'mea_plugin.mmagic')])
def test_a_toolbox_that_fails_by_itself_names_the_adapter(module, tmp_path, monkeypatch, toolbox, adapter):
    folder = tmp_path / toolbox
    folder.mkdir()
    (folder / 'mine_inner.py').write_text('import torchvision.transforms.nothing_of_this_name\n')
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    with pytest.raises(InputError) as refused:
        import_plugin(str(module('mine_i', 'import mine_inner\n')))
    assert adapter in refused.value.do
