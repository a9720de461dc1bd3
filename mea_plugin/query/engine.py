"""Runs queries: within the budget, no content twice, and every answer kept as soon as it is there."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json
from mea_plugin.core.launch import is_first_process, process_share
from mea_plugin.core.locks import locked
from mea_plugin.data.references import FileRef, ImageRef
from mea_plugin.query.interrupts import STOP_WAIT, StopRequest
from mea_plugin.query.ledger import InDoubt, Ledger
from mea_plugin.query.local import Answered, LocalSender
from mea_plugin.query.plan import Counts, PairRow, Plan, check_headers
from mea_plugin.query.remote import OUTCOMES, RemoteSender
from mea_plugin.query_sets.layout import MANIFEST, PairFiles, QuerySet
from mea_plugin.victims import Victim
from mea_plugin.victims.remote import RemoteVictim

__all__ = ['BudgetError', 'answer_all', 'choose_images', 'claim', 'ledger_folder', 'run_queries']


_LOOK_AGAIN = 0.2  # seconds between two looks at what another process is doing


class BudgetError(InputError):
    """The budget does not suffice for all images. The query set holds those that are answered."""


def ledger_folder(folder: str | Path) -> Path:
    """Where the ledger of a query set lies: beside it."""
    return Path(folder).parent / 'ledger'


def run_queries(
    victim: Victim,
    images: Mapping[str, ImageRef | Path],
    folder: str | Path,
    *,
    budget: int | None = None,
    shrink: int = 1,
    batch_size: int = 8,
    in_doubt: InDoubt = 'abandon',
    stop_wait: float = STOP_WAIT,
    verify: bool = False,
    buy_again: bool = False,
    move_other_aside: bool = False,
    options: Mapping[str, Any] | None = None,
) -> QuerySet:
    """Ask the victim about images and keep its answers, in the ledger and as a query set.

    Interrupted, it goes on where it was; several processes may run it at once. An image whose content was answered
    before is not sent, whatever its file is called, and whatever set it was in.

    Args:
        victim: Who is asked.
        images: Name to image. In the order of their names the first ``budget`` are taken.
        folder: Where the query set goes. The ledger lies beside it.
        budget: How many queries may be charged in all, over all runs with this ledger; None for any number.
        shrink: Each image is shrunk by this factor first (MATLAB's bicubic), for attackers whose own images are larger
            than what the victim is meant to be asked.
        batch_size: How many images of equal size go into one call of a victim that is a network here.
        in_doubt: ``resend`` or ``abandon``, for queries of which nobody knows whether they were answered, where the
            victim charges for sending them again.
        stop_wait: Seconds that a run which is asked to stop waits for answers that are on their way.
        verify: Hash images and answers again instead of trusting size, time and inode.
        buy_again: Ask again for answers that were paid for and are damaged or gone; otherwise the run ends.
        move_other_aside: Rename set and ledger of another victim, instead of refusing them; nothing paid is lost.
        options: What the user asked for, to be noted in the manifest.

    Returns:
        The complete query set.

    Raises:
        BudgetError: The budget does not suffice; the set is made of what is answered all the same.
        InputError: An impossible number, an image that cannot be read, an answer of the wrong size, or the ledger of
            another victim. Nothing is sent before every image's header was looked at, and nothing is lost.
    """
    _check_numbers(budget=budget, shrink=shrink, batch_size=batch_size)
    chosen = choose_images(images, budget)
    if len(chosen) < len(images):
        print(f'The budget of {budget} covers the first {budget} of {len(images)} images.')
    queries, place = QuerySet(folder), ledger_folder(folder)
    description = {'victim': {'name': victim.name, 'scale': victim.scale, 'fingerprint': victim.fingerprint}}
    if move_other_aside:
        _move_other_aside(queries, place, description)
    queries.check_can_hold(description)
    sizes = None if (place / 'ledger.sqlite').is_file() else check_headers(chosen, shrink)
    with Ledger(place) as ledger:
        claim(ledger, victim)
        plan = Plan(ledger, chosen, shrink=shrink, sizes=sizes)
        free = not isinstance(victim, RemoteVictim)
        if verify:
            _say_what_is_lost(plan.verify(free=free, buy_again=buy_again))
        _say_what_is_in_doubt(victim, plan, in_doubt)

        def send() -> None:
            if plan.unfinished():
                with locked(place / 'set.lock'):
                    queries.open(description)
                _send_all(victim, plan, budget, batch_size, in_doubt, stop_wait)

        short: BudgetError | None = None
        try:
            send()
            if not verify:  # after what is new: to look at every file takes a while
                _say_what_is_lost(plan.lose_damaged(free=free, buy_again=buy_again))
                send()
        except BudgetError as error:
            short = error  # what is answered can be used all the same
        if not plan.counts().settled:
            raise short or InputError(
                f'none of the {len(plan)} images has an answer (given up)',
                where=ledger.path,
                do='See tools/query.py --status; to ask again, choose another output',
            )
        with locked(place / 'set.lock'):
            _build(queries, plan, description, options or {})
    if short is not None:
        raise short
    return queries


def answer_all(
    victim: Victim, images: Mapping[str, ImageRef], ledger: Ledger, *, in_doubt: InDoubt = 'abandon'
) -> Plan:
    """Ask about images and keep the answers in a ledger, without a query set and without a budget.

    Raises:
        InputError: As :func:`run_queries`.
    """
    claim(ledger, victim)
    plan = Plan(ledger, images)
    plan.lose_damaged(free=not isinstance(victim, RemoteVictim))
    _say_what_is_in_doubt(victim, plan, in_doubt)
    _send_all(victim, plan, None, 8, in_doubt)
    return plan


def _check_numbers(**numbers: int | None) -> None:
    for key, value in numbers.items():
        if value is not None and value < 1:
            name = 'the budget' if key == 'budget' else key
            raise InputError(f'{name} is {value}', where=f'queries.{key}', do='Give 1 or more')


def choose_images(images: Mapping[str, ImageRef | Path], budget: int | None) -> dict[str, ImageRef]:
    """The images that a budget covers: the first in the order of their names."""
    return {name: _reference(images[name], name) for name in sorted(images)[:budget]}


def _reference(image: ImageRef | Path, name: str) -> ImageRef:
    return FileRef.of(image, name) if isinstance(image, Path) else image


def _move_other_aside(queries: QuerySet, ledger: Path, description: Mapping[str, Any]) -> None:
    """Rename what belongs to another victim to ``..._archived_TIME``, as BasicSR does with experiments."""
    suffix = f'_archived_{time.strftime("%Y%m%d_%H%M%S")}'
    other = not queries.can_hold(description)
    if (ledger / 'ledger.sqlite').is_file():
        with Ledger(ledger, create=False) as opened:
            other |= opened.about().get('fingerprint') not in (None, description['victim']['fingerprint'])
    for folder in (queries.folder, ledger) if other else ():
        if folder.exists():
            folder.rename(folder.with_name(folder.name + suffix))


def claim(ledger: Ledger, victim: Victim) -> None:
    """Let the ledger belong to the victim, or find that it does.

    Raises:
        InputError: It belongs to another.
    """
    own = {'name': victim.name, 'scale': str(victim.scale), 'fingerprint': victim.fingerprint}
    about = ledger.note_first('fingerprint', **own, begun=str(time.time()))
    if about['fingerprint'] != victim.fingerprint:
        raise InputError(
            f"the ledger is that of another victim ('{about['name']}', {about['fingerprint'][:12]}; this one is "
            f"'{victim.name}', {victim.fingerprint[:12]})",
            where=ledger.path,
            do='Choose another output, or move it away',
        )


def _send_all(
    victim: Victim,
    plan: Plan,
    budget: int | None,
    batch_size: int,
    in_doubt: InDoubt,
    stop_wait: float = STOP_WAIT,
) -> None:
    """Send until every image is settled or given up, by this process or another.

    Raises:
        Stopped: A signal came; what was on its way is settled, as far as it came in.
    """
    counts = plan.counts()
    with (
        StopRequest(stop_wait) as stop,
        tqdm(
            total=len(plan),
            initial=counts.settled,
            desc=f'query {victim.name}',
            unit='query',
            disable=not (is_first_process() and sys.stderr.isatty()),
        ) as bar,
    ):
        sender: LocalSender | RemoteSender
        if isinstance(victim, RemoteVictim):
            bar.write(f'Asking {victim.name}: only if you own this service or are authorised to test it.', sys.stderr)
            report = functools.partial(tqdm.write, file=sys.stderr)
            sender = RemoteSender(
                victim, plan, budget=budget, in_doubt=in_doubt, progress=bar.update, report=report, stop=stop
            )
        else:
            sender = LocalSender(victim, plan, budget=budget, batch_size=batch_size, progress=bar.update, stop=stop)
        try:
            while positions := _own_share(plan.unfinished()):
                answered = sender.send(positions)
                if not answered.count:
                    _stop_or_wait(plan, answered, budget)
                    stop.check()
        finally:
            if isinstance(sender, RemoteSender):
                _say_what_is_charged(sender.statuses)


def _say_what_is_charged(statuses: Mapping[int, int]) -> None:
    """About attempts that stay charged because of their status alone."""
    if statuses:
        found = ', '.join(f'{count} with status {status}' for status, count in sorted(statuses.items()))
        codes = [status for status in sorted(statuses) if 400 <= status < 600]
        advice = f' If the service does not bill these, set victim.unbilled: {codes}.' if codes else ''
        print(f'{sum(statuses.values())} attempts may have been billed without an answer ({found}).{advice}')


def _say_what_is_lost(count: int) -> None:
    if count:
        print(f'{count} answers were damaged or gone, and are asked for again.')


def _say_what_is_in_doubt(victim: Victim, plan: Plan, in_doubt: InDoubt) -> None:
    """About what earlier runs left; of a victim that answers here, nothing can be in doubt to the user."""
    plan.ledger.recover()
    count = plan.counts().doubt
    if count and isinstance(victim, RemoteVictim):
        what = OUTCOMES['free' if victim.idempotent else in_doubt]
        print(f'{count} queries that an earlier run sent are in doubt: each {what.removeprefix("it ")}.')


def _own_share(positions: Sequence[int]) -> Sequence[int]:
    """All of them, but each of several processes that torchrun started begins at another place."""
    rank, world = process_share()
    start = len(positions) * rank // world
    return [*positions[start:], *positions[:start]] if start else positions


def _stop_or_wait(plan: Plan, answered: Answered, budget: int | None) -> None:
    if answered.exhausted and budget is not None and plan.ledger.spent_for_good >= budget:
        raise _exhausted(plan.ledger, plan.counts(), budget)
    if answered.exhausted or plan.counts().sent:  # another process has charges that may come back, or images of ours
        time.sleep(_LOOK_AGAIN)
        plan.ledger.recover()


def _exhausted(ledger: Ledger, counts: Counts, budget: int | None) -> BudgetError:
    missing = counts.open + counts.doubt
    return BudgetError(
        f'the budget of {budget} is spent ({counts.settled} of these images are answered, {missing} are not)',
        where=ledger.path,
        do=f'Raise queries.budget to {ledger.spent + missing}, or choose another output',
    )


def _build(queries: QuerySet, plan: Plan, description: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Let the query set hold the answered images of the plan; nothing is done where it does already."""
    digest = hash_json([plan.digest(), options])
    key = f'set {queries.folder.name}'
    if not plan.repaired and plan.ledger.about().get(key) == f'{digest} {_state(queries)}':
        return
    queries.build((_files(plan.ledger, pair) for pair in plan.pairs()), description, options)
    plan.ledger.note(**{key: f'{digest} {_state(queries)}'})


def _files(ledger: Ledger, pair: PairRow) -> PairFiles:
    return PairFiles(pair.name, pair.content, pair.response, pair.size, ledger.pair(pair.query))


def _state(queries: QuerySet) -> str:
    """What changes when somebody touches the set: its manifest, and which files its folders hold."""
    manifest = queries.folder / MANIFEST
    if not manifest.is_file():
        return ''
    stat = manifest.stat()
    state = [stat.st_mtime_ns, stat.st_ino]
    for folder in (queries.folder / name for name in ('query', 'response')):
        inodes = [entry.inode() for entry in os.scandir(folder)] if folder.is_dir() else []
        state += [len(inodes), sum(inodes)]
    return ' '.join(map(str, state))
