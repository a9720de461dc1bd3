"""An error is one line, and short, whatever it quotes."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from mea_plugin.core.errors import InputError, line_of, shortened, suggestion

ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.integers(1, 2000))
def test_an_error_is_one_short_line(where: str, what: str, do: str, times: int):
    error = InputError(what * times, where=where * times, do=do * times)
    text = str(error)
    assert text.isprintable()
    assert len(text) < 12 * 3000  # each character may become an escape
    assert (error.where, error.what, error.do) == (where * times, what * times, do * times)
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_both_ends_of_a_long_text_are_there():
    found = line_of('a' * 10_000 + 'b' * 10_000)
    assert (found[0], found[-1]) == ('a', 'b')
    assert 900 < len(found) < 1100


def test_a_short_text_is_as_it_was():
    assert line_of("there is no 'näher' in options/run.yml") == "there is no 'näher' in options/run.yml"
    assert line_of('a\n  b\x1b[0m\u202e\udc80') == r'a b\x1b[0m\u202e\udc80'


def test_values_are_cut():
    assert len(shortened('x' * 10**6)) < 100
    assert len(shortened([['x' * 100] * 100] * 100)) < 5000
    assert len(shortened(10**400)) < 100
    assert len(shortened(10**5000)) < 100


def test_a_long_name_is_not_compared_letter_by_letter():
    assert suggestion('optim_g' + 'x' * 10**6, ['optim_g', 'optim_d']) == 'Known: optim_d, optim_g'
