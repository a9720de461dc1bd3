"""The files that a study ends with, out of finished cells: study.json, README.md with its tables, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.files import write_text
from mea_plugin.core.locks import locked
from mea_plugin.core.records import write_record
from mea_plugin.evaluation.markup import to_csv, to_latex, to_markdown
from mea_plugin.report.figures import save
from mea_plugin.report.figures.svg import to_svg
from mea_plugin.study.document import study_document
from mea_plugin.study.figures import study_figures
from mea_plugin.study.job import StudyRun
from mea_plugin.study.references import measure_references
from mea_plugin.study.tables import comparison_table, study_tables

__all__ = ['write_results']

_FIGURES = {
    'comparisons': 'Differences by configuration; filled: decided.',
    'budget': 'Fidelity by the number of queries.',
    'time': 'Fidelity by seconds of training.',
    'distance': 'Fidelity by domain distance.',
    'defences': 'What defences take: attackers lose upwards, customers lose to the right.',
}


def write_results(run: StudyRun, command: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Write the results folder.

    Args:
        run: What is finished.
        command: What was typed.

    Returns:
        The content of study.json, and the table of comparisons as Markdown.
    """
    study = run.shared.study
    with locked(study.output / 'results.lock'):
        references = measure_references(run.shared)
        found = study_document(run, references, command)
        write_document(found, study.results)
    return found, to_markdown(comparison_table(found), width=120)


def write_document(found: Mapping[str, Any], folder: Path) -> None:
    """Write everything that follows from a study.json, and that."""
    figures = study_figures(found)
    for name, figure in figures.items():
        save(figure, folder / name)
        write_text(folder / f'{name}.svg', to_svg(figure, _FIGURES[name]) + '\n')
    for table in study_tables(found):
        write_text(folder / f'{table.name}.csv', to_csv(table))
        write_text(folder / f'{table.name}.tex', to_latex(table))
    write_text(folder / 'README.md', _readme(found, list(figures)))
    write_record(folder / 'study.json', found)


def _readme(found: Mapping[str, Any], figures: Sequence[str]) -> str:
    cells = found['cells']
    state = f'{cells["finished"]} of {cells["wanted"]} cells are finished'
    if cells['trials']:
        state += f', after {cells["trials"]} trials of the tuning'
    parts = [f'# {found["name"]}', f'{state}. Made by', f'```\n{" ".join(found["command"])}\n```', _where(found)]
    if found['failures']:
        parts.append('Failed:\n\n' + '\n'.join(f'- {one["id"]}: {one["reason"]}' for one in found['failures']))
    notes = [f'- {one["name"]}: {one["note"]}.' for one in found['comparisons'] if one['note']]
    tables = study_tables(found)
    parts.append(to_markdown(tables[0]).rstrip('\n'))
    if notes:
        parts.append('\n'.join(notes))
    parts += [f'![{_FIGURES[name]}]({name}.png)' for name in figures]
    parts += [to_markdown(table).rstrip('\n') for table in tables[1:]]
    if found['distances']:
        lines = [
            f'- {one["queries"]} to {one["victim"]}: {one["distance"]:.2f}; '
            f'one half of its training images to the other: {one["floor"]:.2f}'
            for one in found['distances']
        ]
        parts.append('**Domain distance** (docs/studies.md defines it)\n\n' + '\n'.join(lines))
    return '\n\n'.join(parts) + '\n'


def _where(found: Mapping[str, Any]) -> str:
    """On which machines, with what."""
    machines = '; '.join(', '.join(f'{key} {value}' for key, value in one.items()) for one in found['machines'])
    packages = '; '.join(', '.join(f'{key} {value}' for key, value in one.items()) for one in found['packages'])
    return f'on {machines}. Packages: {packages}.'
