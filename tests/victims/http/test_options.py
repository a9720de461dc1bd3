"""An HTTP victim's options: what cannot be is refused in one line, before anything is sent."""

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.victims import build_victim
from mea_plugin.victims.http import HTTPVictim
from mea_plugin.victims.http.options import KeyOptions, RequestOptions, ResponseOptions, ServiceKey
from mea_plugin.victims.remote import RemoteVictim, Retrying
from tests.helpers import refused

URL = 'http://127.0.0.1:9/translate'


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'scale': 0}, 'scale', '0', '1'),
        ({'scale': 1.5}, 'scale', '1.5', '1'),
        ({'scale': True}, 'scale', 'True', '1'),
        ({'concurrency': 0}, 'concurrency', '0', '1024'),
        ({'timeout': 0}, 'timeout', '0', '0.001'),
        ({'timeout': float('nan')}, 'timeout', 'nan', '0.001'),
        ({'rate_limit': float('inf')}, 'rate_limit', 'inf', '0.001'),
        ({'rate_limit': -1}, 'rate_limit', '-1', '0.001'),
        ({'allowed_hosts': 'localhost'}, 'allowed_hosts', "'localhost'", 'list'),
        ({'allowed_hosts': [5]}, 'allowed_hosts[0]', '5', ''),
        ({'authorized': 'yes'}, 'authorized', "'yes'", 'true or false'),
        ({'idempotency': 'two words'}, 'idempotency', "'two words'", 'true'),
        ({'idempotency': 'yes'}, 'idempotency', "'yes'", 'true'),
        ({'idempotency': 5}, 'idempotency', '5', 'true'),
        ({'request': {'body': 'form'}}, 'request.body', "'form'", 'multipart'),
        ({'request': {'quality': 0}}, 'request.quality', '0', '100'),
        ({'request': {'quality': 'high'}}, 'request.quality', "'high'", '100'),
        ({'request': {'filed': 'x'}}, 'request', "'filed'", "'field'"),
        ({'request': {'headers': {'X-A': 5}}}, 'request.headers.X-A', '', 'quote'),
        ({'request': {'headers': {'X A': 'b'}}}, 'request.headers', "'X A'", ''),
        ({'request': {'headers': {'X-A': 'b\r\nHost: c'}}}, 'request.headers.X-A', '', ''),
        (
            {'request': {'body': 'json', 'field': 'input.image', 'fields': {'input': 'x'}}},
            'request.field',
            "'input.image'",
            'request.fields',
        ),
        ({'response': {'formats': []}}, 'response.formats', '', '[png, jpeg]'),
        ({'response': {'formats': 'png'}}, 'response.formats', "'png'", 'list'),
        ({'response': {'formats': ['gif']}}, 'response.formats[0]', "'gif'", 'tiff'),
        ({'response': {'size': 'any'}}, 'response.size', "'any'", 'resize'),
        ({'response': {'max_bytes': 0}}, 'response.max_bytes', '0', '1'),
        ({'jobs': {'interval': -1}}, 'jobs.interval', '-1', '3600'),
        ({'key': {}}, 'key', "'env'", 'env'),
        ({'key': {'env': 'HOME', 'header': 'X Key'}}, 'key.header', "'X Key'", ''),
        ({'key': {'env': 'HOME', 'prefix': 'Bearer\n'}}, 'key.prefix', '', ''),
        ({'key': {'env': 'HOME', 'prefix': 'Schl\u00fcssel '}}, 'key.prefix', '', ''),
        ({'retry': {'attempts': 0}}, 'retry.attempts', '0', '1000'),
        ({'retry': {'first': -1}}, 'retry.first', '-1', ''),
        ({'retry': {'first': True}}, 'retry.first', 'True', ''),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, where, quoted, do):
    with refused(f'victim.{where}', quoted, do=do) as caught:
        HTTPVictim(URL, **options)
    assert '\n' not in str(caught.value)


def test_a_header_s_value_is_not_shown():
    for options in ({'headers': {'X-Key': 'sesame\n'}}, {'headers': {'X-Key': 271828}}):
        with pytest.raises(InputError) as caught:
            HTTPVictim(URL, request=options)
        assert not any(secret in str(caught.value) for secret in ('sesame', '271828'))


def test_the_defaults():
    victim = build_victim({'type': 'http', 'url': URL, 'scale': 2, 'timeout': None})
    assert isinstance(victim, RemoteVictim)
    assert (victim.name, victim.scale, victim.concurrency, victim.idempotent) == ('127.0.0.1', 2, 4, False)
    assert victim.retrying == Retrying()
    assert HTTPVictim(URL, idempotency='X-Request').idempotent


def test_lists_become_tuples_and_whole_numbers_pass_for_others():
    assert ResponseOptions.parse({'formats': ['png', 'jpeg']}).formats == ('png', 'jpeg')
    assert HTTPVictim(URL, retry={'first': 2}).retrying.first == 2


def test_the_key_comes_from_the_environment_and_is_not_shown(monkeypatch):
    monkeypatch.setenv('SOME_KEY', '  sesame-7  ')
    key = ServiceKey(KeyOptions(env='SOME_KEY'))
    assert (key.header, key.value) == ('Authorization', 'Bearer sesame-7')
    assert 'sesame' not in repr(key)
    assert key.hide(b'bad key sesame-7!') == b'bad key ***!'


@pytest.mark.parametrize('value', [None, '', '  ', 'k\u00e9y', 'two\nlines'])
def test_a_key_that_is_none_is_refused_without_showing_it(monkeypatch, value):
    monkeypatch.delenv('SOME_KEY', raising=False)
    if value is not None:
        monkeypatch.setenv('SOME_KEY', value)
    with refused('victim.key.env') as caught:
        HTTPVictim(URL, key={'env': 'SOME_KEY'})
    assert not (value or '').strip() or value not in str(caught.value)


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
