"""What a ledger says so far, and what a run would do: for --status and --dry-run."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mea_plugin.data.references import ImageRef
from mea_plugin.query.engine import choose_images, claim, ledger_folder
from mea_plugin.query.ledger import Ledger
from mea_plugin.query.options import QueryFile
from mea_plugin.query.plan import Plan, check_headers
from mea_plugin.victims import Victim
from mea_plugin.victims.remote import RemoteVictim

__all__ = ['dry_run', 'status']

_STATES = ('settled', 'given up', 'doubt', 'sent', 'open')
_ATTEMPTS = """
SELECT COUNT(*), SUM(outcome = 'settled'), SUM(outcome = 'refused'), SUM(outcome = 'doubt'), SUM(charged),
    MIN(started), MAX(ended), AVG(CASE WHEN outcome = 'settled' THEN ended - started END),
    SUM(sent_bytes), SUM(received_bytes)
FROM attempts
"""


def status(options: QueryFile) -> str:
    """A report on the ledger of a run, without asking anybody anything.

    Raises:
        InputError: There is no ledger.
    """
    with Ledger(ledger_folder(options.output / 'queries'), create=False) as ledger:
        ledger.recover()  # what dead processes had on its way is in doubt
        about = ledger.about()
        states = dict(ledger.rows('SELECT state, COUNT(*) FROM queries GROUP BY state'))
        ((attempts, settled, refused, doubtful, charged, began, ended, mean, sent, received),) = ledger.rows(_ATTEMPTS)
        budget = options.queries.budget
        lines = [
            ('ledger', str(ledger.path)),
            ('victim', f'{about.get("name")}, x{about.get("scale")}, fingerprint {about.get("fingerprint", "")[:16]}'),
            ('budget', f'{ledger.spent} charged of {budget if budget is not None else "any number"}'),
            ('queries', ', '.join(f'{states.get(state, 0)} {_WORDS[state]}' for state in _STATES)),
            ('attempts', f'{attempts}: {settled or 0} answered, {refused or 0} refused, {doubtful or 0} in doubt'),
            ('cost', _cost(int(charged or 0), options.queries.cost_per_query)),
        ]
        if attempts:
            lines.append(('time', f'{_moment(began)} to {_moment(ended)}'))
        if sent or received:
            lines.append(('per answer', f'{mean or 0:.3f} s'))
            lines.append(('traffic', f'{_megabytes(sent)} sent, {_megabytes(received)} received'))
        if 'answers lost' in about:
            lines.append(('lost', about['answers lost']))
        for query, moment, note in ledger.rows(
            "SELECT query, ended, note FROM attempts WHERE outcome = 'doubt' ORDER BY id DESC LIMIT 10"
        ):
            lines.append(('in doubt', f'query {query}, {_moment(moment)}: {note}'))
    return _aligned(lines)


def dry_run(victim: Victim, images: Mapping[str, ImageRef], options: QueryFile) -> str:
    """What a run would send and cost; nothing is sent.

    Raises:
        InputError: An image cannot be used, or the ledger is that of another victim.
    """
    budget, shrink = options.queries.budget, options.queries.shrink
    chosen = choose_images(images, budget)
    place = ledger_folder(options.output / 'queries')
    spent, answered, unknown, charges = 0, 0, len(chosen), len(chosen)
    if (place / 'ledger.sqlite').is_file():
        with Ledger(place, create=False) as ledger:
            claim(ledger, victim)
            ledger.recover()
            plan = Plan(ledger, chosen, shrink=shrink)
            counts, unknown = plan.counts(), plan.unread()
            spent, answered = ledger.spent, counts.settled
            charges = counts.open + (counts.doubt if _is_charged_again(victim, options) else 0)
    else:
        check_headers(chosen, shrink)
    lines = [
        ('images', f'{len(images)}, of which {len(chosen)} within the budget' if budget else str(len(images))),
        ('answered', f'{answered} already'),
        ('to charge', f'at most {charges} ({unknown} images are not read yet; equal ones are one query)'),
        ('budget', f'{spent} charged of {budget if budget is not None else "any number"}'),
        ('cost', f'at most {_cost(charges, options.queries.cost_per_query)}'),
    ]
    if budget is not None and spent + charges > budget:
        lines.append(('short', f'up to {spent + charges - budget} queries more than the budget allows'))
    return _aligned(lines)


def _is_charged_again(victim: Victim, options: QueryFile) -> bool:
    """Whether what is in doubt would be sent again as one more charge."""
    remote = isinstance(victim, RemoteVictim) and not victim.idempotent
    return remote and options.queries.in_doubt == 'resend'


_WORDS = {
    'settled': 'answered',
    'given up': 'given up',
    'doubt': 'in doubt',
    'sent': 'on their way',
    'open': 'not answered',
}


def _cost(count: int, each: float) -> str:
    return f'{count * each:g} ({count} x {each:g})' if each else f'{count} queries (no cost_per_query is set)'


def _megabytes(count: int | None) -> str:
    return f'{(count or 0) / 1e6:.1f} MB'


def _moment(seconds: float | None) -> str:
    return '-' if seconds is None else time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))


def _aligned(lines: list[tuple[str, str]]) -> str:
    return '\n'.join(f'{key:<11}{value}' for key, value in lines)
