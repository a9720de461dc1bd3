"""The page: one HTML file, complete in itself, out of results, drawings and embedded images."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pywt

from mea_plugin import __version__
from mea_plugin.core.packages import require_packages
from mea_plugin.report.defaults import PRICE
from mea_plugin.report.drawings import Drawing
from mea_plugin.report.figures import DARK, LIGHT
from mea_plugin.report.images import Blob
from mea_plugin.report.minima import minima_table
from mea_plugin.report.prices import budget_curves, calculator_data, price_tables
from mea_plugin.report.records import commands, records
from mea_plugin.report.redact import HIDDEN, redact_text
from mea_plugin.report.sources import Results
from mea_plugin.report.views import KINDS, lead, set_views, tiles

__all__ = ['STOPS', 'browser_data', 'check_libraries', 'render']

STOPS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colours of the maps, dark to light in even steps of lightness, so that they also read in grey print."""

WAVE = 'db3'
"""The wavelet of the band maps: that of HighFrequencyLoss and of hf_psnr."""

_TEMPLATES = Path(__file__).parent / 'templates'
_SCRIPTS = ('maps.js', 'pictures.js', 'stage.js', 'browser.js', 'prices.js', 'page.js')


def check_libraries() -> None:
    """Refuse to begin where Jinja2 or matplotlib is not installed.

    Raises:
        InputError: One is not.
    """
    require_packages('the report', 'jinja2', 'matplotlib')


def render(
    results: Results,
    *,
    blobs: Sequence[Blob],
    pictures: Sequence[Sequence[Mapping[str, Any]]],
    set_figures: Sequence[Mapping[str, list[Drawing]]],
    curves: Sequence[Drawing],
    title: str,
    command: Sequence[str],
    price: float = PRICE,
) -> str:
    """The page's text.

    Nothing in it is taken from elsewhere, and its content security policy forbids to load anything or to run any other
    script, so that a name out of a result cannot either.

    Args:
        results: What was read.
        blobs: The embedded images.
        pictures: Of each evaluation what :func:`~mea_plugin.report.images.embed` says of its pictures.
        set_figures: Of each evaluation the figures of its test sets, by name.
        curves: All other figures.
        title: The heading.
        command: What makes the report again.
        price: Of a query.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _script()
    shown, total = count_images(results, pictures)
    several = len(results.sources) > 1
    by_budget = budget_curves(results.sources)
    return environment.get_template('page.html.j2').render(
        policy=_policy(script),
        version=__version__,
        hidden=HIDDEN,
        title=redact_text(title),
        lead=[redact_text(line) for line in lead(results)],
        css=Markup(_style()),
        sections=_sections(results, curves, has_prices=bool(by_budget)),
        costs=list(price_tables(by_budget, price)),
        prices=Markup(_embedded_json(calculator_data(by_budget, price))),
        tiles=tiles(results),
        results=[
            {'sets': set_views(index, source, figures, named=several)}
            for index, (source, figures) in enumerate(zip(results.sources, set_figures, strict=True))
        ],
        is_saved=any(source.evaluation['pictures'] for source in results.sources),
        shown=f'{shown} of {total} images are in this page.',
        ramp=', '.join(f'rgb{stop}' for stop in STOPS),
        curves=curves,
        minima=[minima_table(measured) for measured in results.flatness],
        commands=commands(results, command),
        records=records(results),
        blobs=blobs,
        data=Markup(_embedded_json(browser_data(results, pictures))),
        script=Markup(script),
    )


def count_images(results: Results, pictures: Sequence[Sequence[Any]]) -> tuple[int, int]:
    """How many images the page shows, and how many the test sets of all evaluations hold."""
    total = sum(one['count'] for source in results.sources for one in source.evaluation['test_sets'])
    return sum(map(len, pictures)), total


def browser_data(results: Results, pictures: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What the image browser knows: names, scores of the images shown, and which blob is which picture."""
    wavelet = pywt.Wavelet(WAVE)
    described = []
    for source, shown in zip(results.sources, pictures, strict=True):
        evaluation = source.evaluation
        names = [model['name'] for model in evaluation['models']]
        metrics = evaluation['protocol']['metrics']
        described.append(
            {
                'name': source.name,
                'models': [{key: model[key] for key in ('name', 'role')} for model in evaluation['models']],
                'titles': {'query': 'query', 'truth': 'ground truth', **{f'model:{name}': name for name in names}},
                'metrics': {
                    name: {key: metric[key] for key in ('title', 'unit', 'digits')} for name, metric in metrics.items()
                },
                'sets': [
                    _set_data(test_set, [one for one in shown if one['set'] == test_set['name']])
                    for test_set in evaluation['test_sets']
                ],
            }
        )
    return {
        'results': described,
        'kinds': KINDS,
        'wavelet': {'low': wavelet.dec_lo, 'high': wavelet.dec_hi},
        'stops': STOPS,
    }


def _set_data(test_set: Mapping[str, Any], pictures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = {picture['image'] for picture in pictures}
    scores = {
        kind: {
            model: {
                'images': {name: values for name, values in one['images'].items() if name in names},
                'identical': one['identical'],
                'undefined': one['undefined'],
            }
            for model, one in test_set[kind].items()
        }
        for kind in KINDS
    }
    return {'name': test_set['name'], 'count': test_set['count'], 'pictures': list(pictures), 'scores': scores}


def _sections(results: Results, curves: Sequence[Drawing], *, has_prices: bool) -> list[tuple[str, str]]:
    sections = [('results', 'Results'), ('images', 'Images')] if results.sources else []
    sections += [('curves', 'Curves')] if curves else []
    sections += [('costs', 'What a surrogate costs')] if has_prices else []
    return [*sections, ('reproduce', 'How this was made')]


def _style() -> str:
    """The style sheet, with the figures' colours for a light and a dark page."""
    text = (_TEMPLATES / 'page.css').read_text(encoding='utf-8')
    for mark, colours in (('/* figures: light */', LIGHT), ('/* figures: dark */', DARK)):
        text = text.replace(mark, ' '.join(f'--{name}: {colour};' for name, colour in colours.items()))
    return text


def _script() -> str:
    """All scripts as one, in a scope of its own."""
    parts = [(_TEMPLATES / name).read_text(encoding='utf-8') for name in _SCRIPTS]
    return "\n(() => {\n'use strict';\n\n" + '\n'.join(parts) + '})();\n'


def _policy(script: str) -> str:
    """Forbid everything but this script, styles and images that are in the page."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = (
        "default-src 'none'",
        f"script-src 'sha256-{digest}'",
        "style-src 'unsafe-inline'",  # the figures' SVG has style attributes
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
    )
    return '; '.join(rules)


def _embedded_json(value: Any) -> str:
    """JSON that may stand in a script element, whatever names are in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    for character in '<>&\u2028\u2029':
        text = text.replace(character, f'\\u{ord(character):04x}')
    return text
