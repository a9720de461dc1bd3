"""Images paired by name: what is refused, and where."""

from pathlib import Path

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.pairs import by_name, check_paired


def test_files_by_name_in_their_order():
    paths = [Path('x/b.png'), Path('x/a.png')]
    assert list(by_name(paths, lambda path: path.stem).items()) == [('b', paths[0]), ('a', paths[1])]


def test_two_files_of_one_name():
    with pytest.raises(InputError) as error:
        by_name([Path('x/a.png'), Path('x/a.jpg')], lambda path: path.stem)
    assert error.value.where == 'x'
    assert all(name in error.value.what for name in ("'a.png'", "'a.jpg'", "'a'"))


def test_a_name_that_is_not_utf8():
    with pytest.raises(InputError) as error:
        by_name([Path('x/a\udcff.png')], lambda path: path.stem)
    assert (error.value.where, "'a\\xff.png'" in error.value.what) == ('x', True)


def test_images_without_a_partner():
    sides = {'queries': {'a': 1, 'b': 2}, 'responses': {'b': 1, 'a': 2}}
    check_paired(sides, where='here', do='Pair them')
    with pytest.raises(InputError) as error:
        check_paired({**sides, 'images of gt': {'b': 1, 'c': 2, 'd': 3}}, where='here', do='Pair them')
    assert (error.value.where, error.value.do) == ('here', 'Pair them')
    assert error.value.what == "2 queries and 3 images of gt do not pair ('a' is alone)"
