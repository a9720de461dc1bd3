"""Secrets stay out of what is published, and what is none stays in."""

from __future__ import annotations

import pytest

from mea_plugin.report.redact import HIDDEN, redact, redact_command, redact_text


@pytest.mark.parametrize(
    'name',
    [
        'headers',
        'api_key',
        'apiKey',
        'token',
        'access_token',
        'password',
        'Authorization',
        'X-Api-Key',
        'cookie',
        'secrets',
    ],
)
def test_values_of_options_that_hold_secrets_are_left_out(name: str):
    hidden = redact({'victim': [{name: {'X-Secret': 'swordfish'}}, {name: 'swordfish'}], 'scale': 4})
    assert hidden == {'victim': [{name: HIDDEN}, {name: HIDDEN}], 'scale': 4}


def test_the_name_of_the_variable_that_holds_a_key_stays():
    options = {'key': {'env': 'MEA_API_KEY', 'header': 'Authorization', 'prefix': 'Bearer ', 'value': 'swordfish'}}
    assert redact(options)['key'] == {
        'env': 'MEA_API_KEY',
        'header': 'Authorization',
        'prefix': 'Bearer ',
        'value': HIDDEN,
    }
    assert redact({'key': 'swordfish'}) == {'key': HIDDEN}


@pytest.mark.parametrize(
    'options',
    [
        {'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 64}, 'weights': 'a/b.pth', 'param_key': 'params_ema'},
        {'train': {'optim_g': {'type': 'SAM', 'rho': 0.05, 'betas': [0.9, 0.99]}, 'ema': None}},
        {
            'monkey': 'a',
            'tokens': None,
            'keyboard': 1,
            'author': 'b',
            'url': 'http://127.0.0.1:8008/v1/translate?size=4',
        },
    ],
)
def test_what_is_no_secret_stays(options: dict):
    assert redact(options) == options


@pytest.mark.parametrize(
    ('text', 'clean'),
    [
        ('curl -H "Authorization: Bearer abc.def"', 'curl -H "Authorization: Bearer ***"'),
        ('https://me:swordfish@host/path', 'https://***@host/path'),
        ('http://host/x?size=4&api_key=swordfish&y=1', 'http://host/x?size=4&api_key=***&y=1'),
        ('victim:token=swordfish', 'victim:token=***'),
        ('mea_' + 'a1B2-' * 8, '***'),
        ('an ordinary sentence about keys and tokens', 'an ordinary sentence about keys and tokens'),
    ],
)
def test_text_loses_what_looks_like_a_key(text: str, clean: str):
    assert redact_text(text) == clean
    assert redact_text(clean) == clean


def test_a_command_loses_the_values_of_such_arguments():
    command = [
        'python',
        'tools/query.py',
        '-opt',
        'a.yml',
        '--token',
        'swordfish',
        '--api-key=swordfish',
        '--images',
        '3',
    ]
    clean = ['python', 'tools/query.py', '-opt', 'a.yml', '--token', '***', '--api-key=***', '--images', '3']
    assert redact_command(command) == clean
