"""tools/query.py: sources, what it says without sending anything, and its option file."""

from pathlib import Path

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import load_options
from mea_plugin.query.options import QueryFile
from tests.helpers import call_tool, photograph, save, write_yaml


@pytest.fixture
def job(tmp_path):
    for index in range(5):
        save(tmp_path / 'photos' / f'{index}.png', photograph((16, 20 + index % 2), index))
    return tmp_path


def options(folder, **queries):
    content = {
        'name': 'job',
        'output': str(folder / 'out'),
        'victim': {'type': 'opencv', 'style': 'pencil_sketch'},
        'queries': {'images': str(folder / 'photos'), **queries},
    }
    return write_yaml(folder / 'job.yml', content)


def lines(capsys):
    """What was printed, by the first word of each line."""
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if ' ' in line)


def test_a_dry_run_tells_the_cost_and_sends_nothing(job, capsys):
    file = options(job, cost_per_query=0.25)
    assert call_tool('query', '-opt', file, '--dry-run') == 0
    told = lines(capsys)
    assert told['images'] == '5'
    assert told['to'].startswith('charge  at most 5 (5 images are not read yet')
    assert told['cost'] == 'at most 1.25 (5 x 0.25)'
    assert not (job / 'out').exists()


def test_a_dry_run_knows_what_is_there_and_what_the_budget_lacks(job, capsys):
    assert call_tool('query', '-opt', options(job, budget=3)) == 0
    capsys.readouterr()
    assert call_tool('query', '-opt', options(job, budget=4), '--dry-run') == 0
    told = lines(capsys)
    assert told['images'] == '5, of which 4 within the budget'
    assert told['answered'] == '3 already'
    assert told['to'].startswith('charge  at most 1 (1 images')
    assert told['budget'] == '3 charged of 4'
    save(job / 'photos' / '0.png', photograph((16, 16), 70))
    assert call_tool('query', '-opt', options(job, budget=3), '--dry-run') == 0
    assert lines(capsys)['short'] == 'up to 1 queries more than the budget allows'


def test_the_status(job, capsys):
    file = options(job, budget=4, cost_per_query=2)
    assert call_tool('query', '-opt', file, '--status') == 2
    assert f'{job / "out" / "ledger"}: ' in capsys.readouterr().err
    assert not (job / 'out').exists()
    assert call_tool('query', '-opt', file) == 0
    capsys.readouterr()
    assert call_tool('query', '-opt', file, '--status') == 0
    told = lines(capsys)
    assert told['budget'] == '4 charged of 4'
    assert told['queries'] == '4 answered, 0 given up, 0 in doubt, 0 on their way, 0 not answered'
    assert told['attempts'] == '4: 4 answered, 0 refused, 0 in doubt'
    assert told['cost'] == '8 (4 x 2)'
    assert told['victim'].startswith('pencil_sketch, x1, fingerprint ')


def test_images_from_the_command_line(job, capsys):
    file = options(job)
    assert call_tool('query', '-opt', file, '--images', job / 'photos' / '[01].png', job / 'photos' / '4.png') == 0
    assert len(list((job / 'out' / 'queries' / 'query').iterdir())) == 3
    assert call_tool('query', '-opt', file, '--images', job / 'nowhere') == 2
    assert '--images' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('queries', 'where', 'quoted'),
    [
        ({'in_doubt': 'resnd'}, '.in_doubt', "'resnd'"),
        ({'cost_per_query': -1}, '.cost_per_query', '-1'),
        ({'cost_per_query': float('nan')}, '.cost_per_query', 'nan'),
        ({'budget': 0}, '.budget', '0'),
        ({'budget': 2.5}, '.budget', '2.5'),
        ({'budgt': 3}, '', "'budgt'"),
        ({'images': {}}, '.images', '{}'),
        ({'images': []}, '.images', '[]'),
        ({'images': None}, '', "'images'"),
    ],
)
def test_bad_options_are_named_with_their_place(job, queries, where, quoted):
    with pytest.raises(InputError) as caught:
        QueryFile.read(load_options(options(job, **queries)), 'job.yml')
    assert caught.value.where == f'job.yml: queries{where}'
    assert quoted in caught.value.what


def test_bad_options_end_in_one_line_and_send_nothing(job, capsys):
    assert call_tool('query', '-opt', options(job, in_doubt='resnd')) == 2
    error = capsys.readouterr().err
    assert all(text in error for text in ('job.yml: queries.in_doubt: ', "'resnd'", "'resend'"))
    assert error.count('\n') == 1
    assert not (job / 'out').exists()


def test_a_file_is_read_as_it_is_written(job):
    file = QueryFile.read(load_options(options(job, budget=5e3, shrink=None)), 'job.yml')
    assert file.queries.settings() == {'budget': 5000}
    assert file.noted()['queries'] == {'images': str(job / 'photos'), 'budget': 5000, 'cost_per_query': 0.0}
    assert QueryFile.read({**dict(file), 'output': None}, 'job.yml').output == Path('results/job')
    assert QueryFile.read(dict(file), 'job.yml', 'elsewhere').output == Path('elsewhere')


@pytest.mark.parametrize(
    'arguments', [('--verify', '--status'), ('--verify', '--dry-run'), ('--images', 'x', '--status')]
)
def test_arguments_that_mean_nothing_together(job, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        call_tool('query', '-opt', options(job), *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_an_empty_source_is_not_the_current_folder(job, capsys):
    for given, arguments, where in (({}, ('--images', ''), '--images'), ({'images': ''}, (), 'queries.images')):
        assert call_tool('query', '-opt', options(job, **given), *arguments) == 2
        assert f'{where}: ' in capsys.readouterr().err


def test_several_sources_in_the_option_file(job):
    file = options(job, images=[str(job / 'photos' / '0.png'), str(job / 'photos' / '[12].png')])
    assert call_tool('query', '-opt', file) == 0
    assert len(list((job / 'out' / 'queries' / 'response').iterdir())) == 3
