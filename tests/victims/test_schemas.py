"""Every built-in victim and defence says in its signature what it takes: for editors, and for its own checks."""

import json

import pytest
from pydantic import ValidationError

from mea_plugin.core.errors import InputError
from mea_plugin.core.signatures import signature_model, typed_schema
from mea_plugin.defences.registry import DEFENCES
from mea_plugin.victims.registry import VICTIMS


@pytest.mark.parametrize(
    ('factories', 'needed'),
    [(VICTIMS, {'bicubic', 'embedded', 'http', 'opencv', 'onnx'}), (DEFENCES, {'jpeg', 'noise'})],
)
def test_every_option_is_described(factories, needed):
    schema = typed_schema(factories.built_in, factories.find)
    json.dumps(schema)
    titles = {one['$ref'].rpartition('/')[2] for one in schema['oneOf']}
    assert needed <= titles
    silent = [
        f'{title}.{key}'
        for title in titles
        for key, option in schema['$defs'][title]['properties'].items()
        if key != 'type' and not option.get('description')
    ]
    assert silent == []
    assert all(schema['$defs'][title]['additionalProperties'] is False for title in titles)


def test_ranges_and_choices_are_in_the_schema():
    schema = typed_schema(['http', 'opencv'], VICTIMS.find)['$defs']
    assert schema['http']['properties']['concurrency']['maximum'] == 1024
    assert schema['RequestOptions']['properties']['format']['enum'] == ['png', 'jpeg']
    assert 'stylization' in schema['opencv']['properties']['style']['enum']
    assert schema['opencv']['required'] == ['style', 'type']


def test_no_option_of_ours_takes_what_it_cannot_use():
    for factories in (VICTIMS, DEFENCES):
        for name in factories.built_in:
            try:
                model = signature_model(factories.find(name))
            except (ImportError, InputError):
                continue
            for key in model.model_fields:
                with pytest.raises(ValidationError) as caught:
                    model.model_validate({key: object()})
                assert any(error['loc'][0] == key for error in caught.value.errors())
