"""An HTTP victim's options: what cannot be is refused in one line, before anything is sent."""

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.victims import build_victim
from mea_plugin.victims.http import HTTPVictim
from mea_plugin.victims.http.options import KeyOptions, RequestOptions, ResponseOptions, parse, parse_retrying
from mea_plugin.victims.remote import RemoteVictim, Retrying

URL = 'http://127.0.0.1:9/translate'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'scale': 0}, 'scale is 0'),
        ({'scale': 1.5}, 'scale is 1.5'),
        ({'scale': True}, 'scale is True'),
        ({'concurrency': 0}, 'concurrency is 0'),
        ({'timeout': 0}, 'timeout is 0'),
        ({'timeout': None}, 'timeout is None'),
        ({'timeout': float('nan')}, 'timeout is nan'),
        ({'rate_limit': float('inf')}, 'rate_limit is inf'),
        ({'rate_limit': -1}, 'rate_limit is -1'),
        ({'idempotency': 'two words'}, "'two words' is no name of a header"),
        ({'idempotency': 5}, '5 is no name of a header'),
        ({'request': {'body': 'form'}}, "victim.request.body: no such choice 'form'"),
        ({'request': {'quality': 0}}, 'victim.request.quality: 0 is out of range'),
        ({'request': {'quality': 'high'}}, "victim.request.quality: got 'high'"),
        ({'request': {'filed': 'x'}}, "unknown option 'filed'.*'field'"),
        ({'request': {'headers': {'X-A': 5}}}, "the header 'X-A' is no printable"),
        ({'request': {'headers': {'X A': 'b'}}}, "'X A' is no name of a header"),
        ({'request': {'headers': {'X-A': 'b\r\nHost: c'}}}, "the header 'X-A' is no printable"),
        (
            {'request': {'body': 'json', 'field': 'input.image', 'fields': {'input': 'x'}}},
            "'input.image' leads into a field that is no object",
        ),
        ({'response': {'formats': []}}, 'formats is'),
        ({'response': {'formats': 'png'}}, "victim.response.formats: got 'png'"),
        ({'response': {'formats': ['gif']}}, "no such choice 'gif'"),
        ({'response': {'size': 'any'}}, "no such choice 'any'"),
        ({'response': {'max_bytes': 0}}, '0 is out of range'),
        ({'jobs': {'interval': -1}}, 'victim.jobs.interval: -1 is out of range'),
        ({'key': {}}, "victim.key: the option 'env' is missing"),
        ({'retry': {'attempts': 0}}, 'victim.retry.attempts: 0 is out of range'),
        ({'retry': {'first': -1}}, 'victim.retry.first: -1 is out of range'),
        ({'retry': {'first': True}}, 'victim.retry.first: got True'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        HTTPVictim(URL, **options)
    assert '\n' not in str(caught.value)


def test_the_defaults():
    victim = build_victim({'type': 'http', 'url': URL, 'scale': 2})
    assert isinstance(victim, RemoteVictim)
    assert (victim.name, victim.scale, victim.concurrency, victim.idempotent) == ('127.0.0.1', 2, 4, False)
    assert victim.retrying == Retrying() == parse_retrying(None)
    assert HTTPVictim(URL, idempotency='X-Request').idempotent


def test_lists_become_tuples_and_whole_numbers_pass_for_others():
    assert parse(ResponseOptions, {'formats': ['png', 'jpeg']}, 'x').formats == ('png', 'jpeg')
    assert parse_retrying({'first': 2}).first == 2


def test_the_key_comes_from_the_environment_and_is_not_shown(monkeypatch):
    monkeypatch.setenv('SOME_KEY', '  sesame-7  ')
    key = KeyOptions('SOME_KEY')
    assert key.value == 'sesame-7'
    assert 'sesame' not in repr(key)
    assert key.hide(b'bad key sesame-7!') == b'bad key ***!'


@pytest.mark.parametrize('value', [None, '', '  ', 'k\u00e9y', 'two\nlines'])
def test_a_key_that_is_none_is_refused_without_showing_it(monkeypatch, value):
    monkeypatch.delenv('SOME_KEY', raising=False)
    if value is not None:
        monkeypatch.setenv('SOME_KEY', value)
    with pytest.raises(InputError, match='victim.key.env: ') as caught:
        KeyOptions('SOME_KEY')
    assert not (value or '').strip() or value not in str(caught.value)


@pytest.mark.parametrize('options', [{'header': 'X Key'}, {'prefix': 'Bearer\n'}, {'prefix': 'Schl\u00fcssel '}])
def test_a_header_that_cannot_be_is_refused_without_the_key(monkeypatch, options):
    monkeypatch.setenv('SOME_KEY', 'sesame')
    with pytest.raises(InputError, match='victim.key: ') as caught:
        KeyOptions('SOME_KEY', **options)
    assert 'sesame' not in str(caught.value)


def test_the_fingerprint_is_of_what_answers():
    def fingerprint(**options):
        return HTTPVictim(**{'url': URL, 'scale': 2, **options}).fingerprint

    same = fingerprint()
    for options in (
        {'name': 'x'}, {'concurrency': 9}, {'timeout': 9}, {'rate_limit': 3}, {'retry': {'attempts': 2}},
        {'idempotency': True}, {'response': {'max_bytes': 9}}, {'response': {'formats': ['jpeg']}},
    ):  # fmt: skip
        assert fingerprint(**options) == same, options
    others = [
        fingerprint(**options)
        for options in (
            {'url': URL + '2'}, {'scale': 4}, {'version': '2'}, {'request': {'fields': {'style': 'ink'}}},
            {'request': {'format': 'jpeg'}}, {'response': {'size': 'resize'}},
        )
    ]  # fmt: skip
    assert len({same, *others}) == 7


def test_the_image_s_field_may_stand_beside_others_of_the_same_object():
    RequestOptions(body='json', field='input.image', fields={'input': {'style': 'ink'}})
