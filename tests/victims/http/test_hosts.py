"""Which hosts are talked to: this machine, and those that the user vouches for."""

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.victims.http import HTTPVictim


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
    with pytest.raises(InputError, match='which is not allowed.*allowed_hosts and add authorized: true'):
        HTTPVictim(url)


def test_other_hosts_need_both_a_listing_and_the_user_s_word():
    url = 'https://api.example.com/translate'
    with pytest.raises(InputError, match='victim.authorized: .*your word'):
        HTTPVictim(url, allowed_hosts=['api.example.com'])
    with pytest.raises(InputError, match='victim.authorized'):
        HTTPVictim(url, allowed_hosts=['api.example.com'], authorized='true')
    with pytest.raises(InputError, match='not allowed'):
        HTTPVictim(url, authorized=True)
    with pytest.raises(InputError, match='not allowed'):
        HTTPVictim(url, allowed_hosts=['example.com'], authorized=True)
    assert HTTPVictim(url, allowed_hosts=['API.example.com'], authorized=True).name == 'api.example.com'


@pytest.mark.parametrize(
    ('url', 'message'),
    [
        ('ftp://127.0.0.1/', 'is no http address'), ('127.0.0.1:80', 'is no http address'), ('', 'is no http address'),
        ('http:///x', 'is no http address'), ('http://127.0.0.1:x/', 'is no address'),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url, message):
    with pytest.raises(InputError, match=message):
        HTTPVictim(url)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(InputError, match='holds a user or a password.*victim.key') as caught:
        HTTPVictim('http://me:sesame@127.0.0.1/')
    assert 'sesame' not in str(caught.value)
