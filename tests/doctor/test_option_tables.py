"""Tables of options in the docs: made from the models, and found out when they are old."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from mea_plugin.core.cli import run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Flag, Number, Options, Whole
from mea_plugin.doctor import option_tables
from mea_plugin.doctor.option_tables import option_table, updated


class Batch(Options):
    """Batches."""

    size: Annotated[int, Whole(1, 64)] = 8
    """Images at once | at most."""


class Serve(Options):
    """A file."""

    name: str
    """The
    name."""
    format: Literal['png', 'jpeg'] = 'png'
    """Format."""
    wait: Annotated[float, Number(above=0)] | Literal['never'] = 2.5
    """Seconds."""
    on: Flag = False
    """Switch."""
    sizes: tuple[Annotated[int, Whole(1)], ...] = ()
    """Sizes."""
    batch: Batch = Batch()
    """Batching."""
    batches: list[Batch] | None = None
    """More."""
    named: dict[str, Batch] | None = None
    """By name."""


def rows(section: str = '') -> dict[str, list[str]]:
    lines = option_table(Serve.model_json_schema(), section).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip('|').replace('\\|', '¦').split('|')] for line in lines]
    return {name.strip('`'): rest for name, *rest in cells}


def test_a_row_says_what_an_option_takes() -> None:
    table = rows()
    assert table['name'] == ['text', 'required', 'The name.']
    assert table['format'] == ['`png`, `jpeg`', '`png`', 'Format.']
    assert table['wait'] == ['number, above 0 or `never`', '`2.5`', 'Seconds.']
    assert table['on'] == ['`true`, `false`', '`false`', 'Switch.']
    assert table['sizes'] == ['list: whole number, at least 1', '', 'Sizes.']
    assert table['batch'] == ['section', '', 'Batching.']


def test_sections_within_are_listed_by_their_path() -> None:
    table = rows()
    wanted = ['whole number, at least 1, at most 64', '`8`', 'Images at once ¦ at most.']
    for name in ('batch.size', 'batches[].size', 'named.NAME.size'):
        assert table[name] == wanted
    assert list(rows('batch')) == ['size']


def test_no_option_is_left_out() -> None:
    assert {name.split('.')[0].split('[')[0] for name in rows()} == set(Serve.model_fields)


def test_a_section_that_is_none_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        rows('batsh')
    assert 'batsh' in caught.value.what
    assert 'batch' in caught.value.do


def test_only_what_stands_between_the_marks_is_written() -> None:
    end = '<!-- end of options -->\n'
    page = f'a\n\n<!-- options: serve batch -->\nold\n{end}\n<!-- options: serve -->\n{end}b\n'
    new = updated(page, lambda kind: {'serve': Serve}[kind].model_json_schema())
    assert new.startswith('a\n\n<!-- options: serve batch -->\n| option |')
    assert new.endswith('<!-- end of options -->\nb\n')
    assert 'old' not in new
    assert '`name`' in new
    assert updated(new, lambda _: Serve.model_json_schema()) == new


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def schema(_: str) -> Any:
        return Serve.model_json_schema()

    monkeypatch.setattr(option_tables.updated, '__defaults__', (schema,))
    page = tmp_path / 'page.md'
    page.write_text('<!-- options: serve -->\nold\n<!-- end of options -->\n')
    return page


def test_the_check_changes_nothing_and_fails_until_the_page_is_written(page: Path) -> None:
    before = page.read_text()
    assert run_tool(option_tables.main, ['--check', str(page)]) == 1
    assert page.read_text() == before
    assert run_tool(option_tables.main, [str(page)]) == 0
    assert '`batch.size`' in page.read_text()
    assert run_tool(option_tables.main, ['--check', str(page)]) == 0
