"""Which hosts are talked to: this machine, and those that the user vouches for."""

import httpx
import pytest

from mea_plugin.victims.http import HTTPVictim
from mea_plugin.victims.http.hosts import origin
from tests.helpers import refused


@pytest.mark.parametrize(
    'url',
    ['http://127.0.0.1/', 'https://localhost:8000/x', 'http://[::1]:80/', 'http://127.8.9.1/', 'http://LOCALHOST/'],
)
def test_this_machine_is_always_allowed(url):
    HTTPVictim(url)


@pytest.mark.parametrize(
    'url',
    [
        'http://example.com/', 'http://127.0.0.1.example.com/', 'http://localhost.example.com/', 'http://10.0.0.1/',
        'http://0.0.0.0/', 'http://[::ffff:10.0.0.1]/', 'http://2130706433/', 'http://0x7f000001/',
    ],
)  # fmt: skip
def test_other_hosts_are_refused(url):
    with refused('victim.url', httpx.URL(url).host, do=('allowed_hosts', 'authorized: true')):
        HTTPVictim(url)


def test_other_hosts_need_both_a_listing_and_the_user_s_word():
    url = 'https://api.example.com/translate'
    with refused('victim.authorized', do='authorized: true'):
        HTTPVictim(url, allowed_hosts=['api.example.com'])
    with refused('victim.authorized', "'true'"):
        HTTPVictim(url, allowed_hosts=['api.example.com'], authorized='true')
    with refused('victim.url', 'api.example.com', do='allowed_hosts'):
        HTTPVictim(url, authorized=True)
    with refused('victim.url', 'api.example.com', do='allowed_hosts'):
        HTTPVictim(url, allowed_hosts=['example.com'], authorized=True)
    assert HTTPVictim(url, allowed_hosts=['API.example.com'], authorized=True).name == 'api.example.com'


@pytest.mark.parametrize(
    ('url', 'quoted'),
    [
        ('ftp://127.0.0.1/', 'ftp://127.0.0.1/'), ('127.0.0.1:80', '127.0.0.1:80'), ('', ''), ('http:///x', 'http:/x'),
        ('http://127.0.0.1:x/', "'http://127.0.0.1:x/'"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url, quoted):
    with refused('victim.url', quoted, do='http://...'):
        HTTPVictim(url)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with refused('victim.url', do='victim.key') as caught:
        HTTPVictim('http://me:sesame@127.0.0.1/')
    assert 'sesame' not in str(caught.value)


def test_an_origin_is_scheme_host_and_port():
    own = origin(httpx.URL('http://Example.com/a'))
    assert own == origin(httpx.URL('http://EXAMPLE.COM:80/b?c'))
    assert origin(httpx.URL('http://bücher.example')) == origin(httpx.URL('http://xn--bcher-kva.example:80'))
    others = 'https://example.com', 'http://example.com:81', 'http://example.com.', 'http://a.example.com'
    assert own not in {origin(httpx.URL(other)) for other in others}
    assert len({origin(httpx.URL(other)) for other in others}) == 4
