"""How the results were made: commands, models, protocols, options, versions, machine; without secrets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mea_plugin.core.options import dump_options
from mea_plugin.evaluation.table import Cell, Column, Table
from mea_plugin.report.redact import redact, redact_command, redact_text
from mea_plugin.report.sources import Results, Source
from mea_plugin.report.views import plural

__all__ = ['Record', 'commands', 'records']


@dataclass(frozen=True)
class Record:
    """Everything that one result depends on: tables, longer ones that are folded, and option files by title."""

    title: str
    tables: list[Table]
    folded: list[Table]
    texts: list[tuple[str, str]]


def commands(results: Results, own: Sequence[str]) -> str:
    """The commands that make the results and the report again, one a line.

    Args:
        results: Each knows the command that made it.
        own: The report's command.
    """
    made = [source.evaluation['command'] for source in results.sources]
    made += [measured['command'] for measured in results.flatness]
    lines = [shlex.join(redact_command(words)) for words in (*made, list(own)) if words]
    return '\n'.join(dict.fromkeys(lines))


def records(results: Results) -> list[Record]:
    """One record for each result, in order."""
    return [*map(_of_evaluation, results.sources), *map(_of_flatness, results.flatness)]


def _of_evaluation(source: Source) -> Record:
    evaluation = source.evaluation
    protocol = evaluation['protocol']
    models = [(m['name'], m['role'], m['title'], m['fingerprint'][:16]) for m in evaluation['models']]
    cut = f'{plural(protocol["border"], "pixel")} cut at each edge' if protocol['border'] else 'nothing cut'
    metrics = [
        (m['title'], m['unit'], m['better'], m['protocol'] + (f' (n/a: {m["missing"]})' if m.get('missing') else ''))
        for m in protocol['metrics'].values()
    ]
    sets = [(one['name'], one['count'], one['fingerprint'][:16]) for one in evaluation['test_sets']]
    tables = [
        _table('Models', ('name', 'role', 'what answers', 'fingerprint'), models),
        _table('Test sets', ('name', 'images', 'fingerprint of names and pixels'), sets),
    ]
    folded = [
        _table(f'Protocol: x{protocol["scale"]}, {cut}', ('metric', 'unit', 'better', 'how it is computed'), metrics),
        _environment(evaluation),
    ]
    texts = [('Options of the evaluation', _options(evaluation['options']))]
    if source.extraction:
        if source.extraction.description:
            texts.append(('Options of the query set', _options(source.extraction.description)))
        for name, options in source.extraction.surrogates.items():
            texts.append((f'Training of {name}', _options(options)))
    return Record(source.name, tables, folded, texts)


def _of_flatness(measured: dict[str, Any]) -> Record:
    points = [
        (name, '' if point.get('iteration') is None else point['iteration'], str(point.get('fingerprint', ''))[:16])
        for name, trajectory in measured['trajectories'].items()
        for point in trajectory
    ]
    title = f'Checkpoints; loss: {measured["loss"]}, on {plural(measured["samples"], "crop")}'
    tables = [_table(title, ('run', 'iteration', 'fingerprint'), points)]
    texts = [('Options of the flatness measurement', _options(measured['options']))]
    return Record(measured['name'], tables, [_environment(measured)], texts)


def _environment(result: Mapping[str, Any]) -> Table:
    facts = [*result['packages'].items(), *((name, _text(value)) for name, value in result['machine'].items())]
    return _table('Versions and machine', ('what', 'value'), facts)


def _options(options: Mapping[str, Any]) -> str:
    """As an option file; what is no plain value stands there as text."""
    return dump_options(redact(json.loads(json.dumps(options, default=str))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    columns = [Column(name, name, is_number=False) for name in header]
    return Table('', title, columns, [[Cell(redact_text(str(text))) for text in row] for row in rows])
