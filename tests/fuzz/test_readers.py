"""Whatever bytes it is given, a reader returns or refuses in one line: a short form of ``make fuzz``."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged
from tests.fuzz.readers import READERS, check_refusal

CORPUS = Path(__file__).parent / 'corpus'


def read(name: str, data: bytes, folder: Path) -> bool:
    """Give a reader bytes; returns whether it accepted them."""
    reader, began = READERS[name], time.monotonic()
    try:
        reader.read(data, folder)
    except reader.refusals as error:
        check_refusal(error)
        return False
    finally:
        assert time.monotonic() - began < 5
    return True


@pytest.mark.parametrize('name', READERS)
def test_examples_are_read(name, tmp_path):
    assert any(read(name, data, tmp_path) for data in READERS[name].examples())


@pytest.mark.parametrize('name', READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(name, tmp_path, data):
    read(name, data.draw(damaged(READERS[name].examples())), tmp_path)


@pytest.mark.parametrize('file', sorted(CORPUS.glob('*/*')), ids=lambda file: f'{file.parent.name}/{file.name}')
def test_what_once_was_read_wrong(file, tmp_path):
    read(file.parent.name, file.read_bytes(), tmp_path)
