"""How tools end: the exit code, and one line on standard error."""

import pickle

import pytest

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError, Stopped, nearest, suggestion


def test_success_is_silent(capsys):
    seen = []
    assert run_tool(seen.append, ['a', 'b']) == 0
    assert seen == [['a', 'b']]
    assert capsys.readouterr() == ('', '')


def test_a_users_mistake_is_one_line_and_exit_code_2(capsys):
    def main(argv):
        raise InputError('the budget\nis 0', where='queries.budget', do='Give at least 1')

    assert run_tool(main, []) == 2
    assert capsys.readouterr() == ('', 'error: queries.budget: the budget is 0. Give at least 1.\n')


def test_ctrl_c_says_how_to_go_on(capsys):
    def main(argv):
        raise KeyboardInterrupt

    assert run_tool(main, []) == 130
    assert 'run the same command again' in capsys.readouterr().err


@pytest.mark.parametrize(('rank', 'said'), [('0', 'stopped\n'), ('1', '')])
def test_a_stopped_run_says_so_once(rank, said, capsys, monkeypatch):
    def main(argv):
        raise Stopped('stopped', 15)

    monkeypatch.setenv('RANK', rank)
    assert run_tool(main, []) == 143
    assert capsys.readouterr().err == said


def test_a_file_where_a_folder_should_be_is_no_bug(tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert run_tool(lambda argv: (tmp_path / 'file' / 'folder').mkdir(), []) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_a_bug_keeps_its_traceback():
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_tool(main, [])


@pytest.mark.parametrize('argv', [[], ['--count', 'x'], ['--count', '1', 'more'], ['--nothing']])
def test_bad_arguments_are_one_line_and_exit_code_2(argv, capsys):
    parser = ToolParser(prog='tool')
    parser.add_argument('--count', type=int, required=True)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(argv)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith('tool: ')
    assert err.endswith('See tool --help.\n')
    assert err.count('\n') == 1


def test_sub_commands_complain_in_one_line_too(capsys):
    parser = ToolParser(prog='tool')
    parser.add_subparsers(required=True, dest='command').add_parser('go').add_argument('file')
    with pytest.raises(SystemExit):
        parser.parse_args(['go'])
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize('parts', [{}, {'where': 'a/b.png'}, {'do': 'Do this'}, {'where': 'x', 'do': 'Do this'}])
def test_an_error_comes_back_from_another_process_unchanged(parts):
    error = InputError('is wrong', **parts)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is InputError
    assert str(again) == str(error)
    assert str(error).endswith('.')
    assert not str(error).endswith('..')


def test_the_nearest_name_is_suggested():
    known = ['HighFrequencyLoss', 'L1Loss', 'MSELoss']
    assert nearest('HighFrequencyLos', known) == 'HighFrequencyLoss'
    assert nearest('zzz', known) is None
    assert suggestion('L1loss', known) == "Use 'L1Loss'"
    assert suggestion('zzz', known) == 'Known: HighFrequencyLoss, L1Loss, MSELoss'
    assert suggestion('zzz', []) == 'Known: none'
