"""One round of chaos: a service, several runs at once that are killed and started again, and then both sides' books."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mea_plugin.core.files import hash_array
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.query.ledger import Ledger
from tests.chaos.faults import AFTER, BEFORE, UNBILLED
from tests.chaos.parties import Client, FaultyService, OwnService, Service, free_port
from tests.chaos.service import Settings
from tests.helpers import photograph, save

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MEMORY = 1 << 30
"""Bytes that a client may take at most: a run of small images needs a fifth of it."""
TIMEOUT = 2.0
"""Seconds without a byte after which a client gives an attempt up."""


@dataclass(frozen=True)
class Plan:
    """What a round is like.

    Attributes:
        seed: Of everything that is drawn.
        own: Whether the service is ``tools/serve.py``, which injects nothing.
        images: How many are asked about.
        idempotent: Whether the service honours keys.
        in_doubt: What the runs do with queries in doubt, where it does not.
        unbilled: Whether the service does not bill errors, and the option file says so.
        budget: Charges that are allowed.
        chance: Of a fault per request.
        kills: Signals that are sent to the runs.
        service_kills: How often the service is killed and started again.
    """

    seed: int
    own: bool
    images: int
    idempotent: bool
    in_doubt: str
    unbilled: bool
    budget: int
    chance: float
    kills: int
    service_kills: int

    @classmethod
    def draw(cls, seed: int, *, images: int = 40) -> Plan:
        """A plan for a seed; the kinds of service take turns."""
        rng = random.Random(f'plan {seed}')
        own = seed % 7 == 6
        idempotent, in_doubt = ((True, 'abandon'), (False, 'abandon'), (False, 'resend'))[0 if own else seed % 3]
        return cls(
            seed,
            own,
            images,
            idempotent,
            in_doubt,
            unbilled=not own and rng.random() < 0.3,
            budget=images if in_doubt == 'abandon' else images + rng.randint(0, images),
            chance=rng.uniform(0.2, 0.7),
            kills=rng.randint(3, 8),
            service_kills=rng.randint(0, 3),
        )


@dataclass
class Tally:
    """What one round, or several, came to.

    Attributes:
        requests: That reached the service.
        faults: Injected ones, by name.
        kills: Signals that met a run, by name; ``service`` for the service.
        settled: Queries with an answer.
        lost: Answers that a ledger had and has no more, or that came whole to a run that was ended in an orderly way
            and are not in the ledger.
        paid_twice: Bills for an image beyond the charges that the ledger holds for it.
        uncounted: Bills beyond what the ledger says was spent, and charges beyond the budget.
        wrong: Answers in a ledger that are not those of the service.
        broken: Tracebacks, runs that did not end, and runs that took too much memory; one line each.
    """

    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    lost: int = 0
    paid_twice: int = 0
    uncounted: int = 0
    wrong: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another round's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.paid_twice or self.uncounted or self.wrong or self.broken)

    def __str__(self) -> str:
        kills = ', '.join(f'{count} {name}' for name, count in sorted(self.kills.items())) or 'none'
        lines = [
            f'requests {self.requests}, faults {self.faults.total()} of {len(self.faults)} kinds, kills: {kills}',
            f'answers {self.settled}; lost {self.lost}, paid twice {self.paid_twice}, uncounted {self.uncounted}, '
            f'wrong {self.wrong}',
        ]
        return '\n'.join([*lines, *self.broken])


def play(plan: Plan, folder: Path) -> Tally:
    """Play a round in an empty folder and compare the books."""
    return _Round(plan, folder).play()


class _Round:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder, self._output = plan, folder, folder / 'run'
        self._rng = random.Random(f'round {plan.seed}')
        self._tally = Tally()
        self._pixels = [photograph((8 + index % 3, 10 + index % 2), index) for index in range(plan.images)]
        for index, pixels in enumerate(self._pixels):
            save(folder / 'images' / f'{index:03d}.png', pixels)
        self._service: Service = OwnService(folder) if plan.own else faulty_service(plan, folder)
        self._options = folder / 'run.yml'
        self._options.write_text(yaml.safe_dump(self._run_options()))
        self._settled: set[str] = set()
        self._clients = 0

    def _run_options(self) -> dict[str, object]:
        victim = {
            'type': 'http',
            'concurrency': 6,
            'timeout': TIMEOUT,
            'retry': {'attempts': 4, 'first': 0.01, 'longest': 0.05},
            **self._service.victim(),
        }
        images, budget = str(self._folder / 'images'), self._plan.budget
        queries = {'images': images, 'budget': budget, 'in_doubt': self._plan.in_doubt}
        return {'name': 'chaos', 'output': str(self._output), 'victim': victim, 'queries': queries}

    def play(self) -> Tally:
        self._service.start()
        try:
            self._kill_again_and_again()
            self._run_to_the_end()
        finally:
            self._service.kill()
        self._compare_books()
        return self._tally

    def _kill_again_and_again(self) -> None:
        service_kills = set(self._rng.sample(range(self._plan.kills), min(self._plan.service_kills, self._plan.kills)))
        for turn in range(self._plan.kills):
            clients = [self._start_client() for _ in range(self._rng.choice((1, 2)))]
            self._wait_for_attempts(self._rng.randint(1, 8), clients)
            time.sleep(self._rng.uniform(0, 0.1))
            if turn in service_kills:
                self._service.kill()
                self._tally.kills['service'] += 1
                time.sleep(self._rng.uniform(0, 0.2))
                self._service.start()
            number, client = self._rng.choice(SIGNALS), self._rng.choice(clients)
            if client.end(number):
                self._tally.kills[number.name] += 1
            for client in clients:
                self._end(client)
            self._look_at_ledger()

    def _run_to_the_end(self) -> None:
        """Run until a run ends well, or the budget is spent."""
        for _ in range(self._plan.images):
            client = self._start_client()
            self._end(client)
            self._look_at_ledger()
            if client.code == 0 or 'the budget' in client.said:
                return
        self._complain(f'{self._plan.images} runs did not end well: {client.said.strip()}')

    def _start_client(self) -> Client:
        self._clients += 1
        name = f'client-{self._clients:03d}'
        return Client(name, self._options, self._service.key(name))

    def _wait_for_attempts(self, count: int, clients: list[Client]) -> None:
        ledger = self._output / 'ledger' / 'ledger.sqlite'
        goal, deadline = _attempts(ledger) + count, time.monotonic() + 60
        while _attempts(ledger) < goal and any(client.running for client in clients):
            if time.monotonic() > deadline:
                self._complain('nothing was sent within 60 s')
                return
            time.sleep(0.005)

    def _end(self, client: Client) -> None:
        """Wait for a client, and look whether what came whole is in the ledger."""
        if wrong := client.wait(120):
            self._complain(wrong)
        if client.ended_by != signal.SIGKILL:
            with _ledger(self._output) as ledger:
                settled = set() if ledger is None else _settled(ledger)
            self._tally.lost += len(self._service.answered(client.name) - settled)

    def _look_at_ledger(self) -> None:
        """What was answered stays answered, and the budget holds at any time."""
        with _ledger(self._output) as ledger:
            if ledger is None:
                return
            settled = _settled(ledger)
            self._tally.lost += len(self._settled - settled)
            self._settled = settled
            self._tally.uncounted += max(ledger.spent - self._plan.budget, 0)

    def _compare_books(self) -> None:
        tally = self._tally
        tally.requests, tally.faults, tally.settled = (
            self._service.requests(),
            self._service.faults(),
            len(self._settled),
        )
        with _ledger(self._output) as ledger:
            if ledger is None:
                self._complain('there is no ledger')
                return
            ledger.recover()
            tally.paid_twice += self._service.paid_twice(dict(ledger.rows(_CHARGED)))
            tally.uncounted += max(self._service.billed() - ledger.spent, 0)
            self._compare_answers(ledger)

    def _compare_answers(self, ledger: Ledger) -> None:
        right = {hash_array(pixels): hash_array(self._service.answer(pixels)) for pixels in self._pixels}
        for query, image, response in ledger.rows("SELECT id, hash, response FROM queries WHERE state = 'settled'"):
            sent, got = (hash_array(read_rgb(file)) for file in ledger.pair(query))
            self._tally.wrong += not (sent == image and got == response == right[image])
        folder = self._output / 'queries'
        for file in list_images(folder / 'query') if folder.is_dir() else ():
            answer = read_rgb(folder / 'response' / file.name)
            self._tally.wrong += hash_array(answer) != right[hash_array(read_rgb(file))]

    def _complain(self, what: str) -> None:
        self._tally.broken.append(f'seed {self._plan.seed}: {what}')


_CHARGED = """
SELECT hash, SUM(charged) FROM attempts JOIN queries ON query = queries.id GROUP BY hash HAVING SUM(charged) > 0
"""


def faulty_service(plan: Plan, folder: Path) -> FaultyService:
    """The service of a plan, with all faults that it may have."""
    faults = [*BEFORE, *AFTER]
    if plan.unbilled:  # then no 500 is billed
        faults = [name for name in faults if name != '500 after billing'] + [UNBILLED]
    settings = Settings(
        str(folder / 'books.sqlite'), free_port(), plan.seed, plan.idempotent, faults, plan.chance, delay=0.02
    )
    options: dict[str, object] = {'response': {'max_bytes': 1 << 20}}
    if plan.unbilled:
        options['unbilled'] = [500]
    return FaultyService(settings, options)


def _attempts(ledger: Path) -> int:
    """How many attempts a ledger holds, read beside the runs that write it."""
    try:
        with contextlib.closing(sqlite3.connect(f'file:{ledger}?mode=ro', uri=True, timeout=5)) as database:
            ((count,),) = database.execute('SELECT COUNT(*) FROM attempts')
            return int(count)
    except sqlite3.OperationalError:  # not there yet
        return 0


@contextlib.contextmanager
def _ledger(output: Path) -> Iterator[Ledger | None]:
    if not (output / 'ledger' / 'ledger.sqlite').is_file():
        yield None
        return
    with Ledger(output / 'ledger', create=False) as ledger:
        yield ledger


def _settled(ledger: Ledger) -> set[str]:
    return {content for (content,) in ledger.rows("SELECT hash FROM queries WHERE state = 'settled'")}


def largest_child() -> int:
    """Peak memory of the largest process that ended so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
