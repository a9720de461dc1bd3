"""The option file of a service: defaults, and what is refused."""

from pathlib import Path

import pytest

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import load_options
from mea_plugin.serving import ServeOptions

SMALLEST = {'name': 'demo', 'victim': {'type': 'embedded'}}


def test_defaults():
    options = ServeOptions.parse(SMALLEST, 'x.yml')
    assert options.store == Path('results/demo/service.sqlite')
    assert (options.host, options.port, options.open, options.public_metrics) == ('127.0.0.1', 8008, False, False)
    assert (options.output.format, options.output.quality) == ('png', 95)
    assert options.idempotency_hours == 24


def test_the_demo_is_the_default(root):
    options = load_options(root / 'options' / 'serve' / 'demo.yml')
    assert ServeOptions.parse(options, 'x.yml') == ServeOptions.parse(SMALLEST, 'x.yml')


def test_an_empty_section_is_its_default():
    assert ServeOptions.parse({**SMALLEST, 'limits': None}, 'x.yml') == ServeOptions.parse(SMALLEST, 'x.yml')


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'name': None}, r"x\.yml: the option 'name' is missing"),
        ({'name': '../x'}, 'is no folder name'),
        ({'victim': {}}, 'x.yml: victim: the section is empty'),
        ({'prot': 1}, r"unknown option 'prot'\. Use 'port'"),
        ({'port': 65536}, 'port is 65536. Give a whole number, 0 to 65535'),
        ({'port': True}, 'port is True'),
        ({'host': 5}, 'host is 5'),
        ({'store': ['a']}, 'store is'),
        ({'output': {'format': 'jpg'}}, r"x\.yml: output: format is 'jpg'\. Use 'jpeg'"),
        ({'output': {'quality': 101}}, 'quality is 101. Give a whole number, 1 to 100'),
        ({'output': 'png'}, "x.yml: output: expected a section, got 'png'"),
        ({'limits': {'body_bytes': 0}}, 'x.yml: limits: body_bytes is 0. Give a whole number, 1 or more'),
        ({'limits': {'pixels': 1.5}}, 'pixels is 1.5'),
        ({'limits': {'min_side': 0}}, 'min_side is 0'),
        ({'limits': {'min_side': 20, 'max_side': 10}}, 'max_side is 10'),
        ({'limits': {'body': 1}}, "x.yml: limits: unknown option 'body'"),
        ({'limits': {'queue': None}}, 'queue is None'),
        ({'limits': {'body_timeout_s': float('nan')}}, 'body_timeout_s is nan. Give a number above 0'),
        ({'batch': {'wait_ms': -1}}, 'x.yml: batch: wait_ms is -1. Give a number 0 or more'),
        ({'idempotency_hours': 0}, 'idempotency_hours is 0'),
        ({'open': 'no'}, "open is 'no'. Give true or false"),
    ],
)
def test_what_cannot_be_used_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        ServeOptions.parse({**SMALLEST, **more}, 'x.yml')


def test_no_wait_for_a_batch_is_fine():
    assert ServeOptions.parse({**SMALLEST, 'batch': {'wait_ms': 0}}, 'x.yml').batch.wait_ms == 0
