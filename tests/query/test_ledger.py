"""The ledger: every attempt charged before it is sent, whatever happens to whom."""

import errno
import multiprocessing
import os
import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mea_plugin.query import ledger as ledger_module
from mea_plugin.query.ledger import Attempt, Ledger, Settled
from tests.helpers import refused


def registered(ledger, count):
    """So many queries."""
    numbers = ledger.register((f'signature {index}', f'hash {index}', (4, 5)) for index in range(count))
    return [numbers[f'hash {index}'] for index in range(count)]


def answer(attempt):
    return Settled(attempt, 'response', (8, 10), (100, 200), 300, 400, 'a note')


def state(ledger, query):
    ((found,),) = ledger.rows('SELECT state FROM queries WHERE id = ?', (query,))
    return found


def charges(ledger):
    ((total,),) = ledger.rows('SELECT COALESCE(SUM(charged), 0) FROM attempts')
    return total


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / 'ledger') as opened:
        yield opened


def test_equal_content_is_one_query(ledger):
    numbers = ledger.register([('a.png', 'same', (4, 5)), ('b.png', 'same', (4, 5)), ('c.png', 'other', (4, 5))])
    assert len(numbers) == len(set(numbers.values())) == 2
    assert ledger.register([('d.png', 'same', (4, 5))]) == {'same': numbers['same']}


def test_a_query_s_life(ledger):
    (query,) = registered(ledger, 1)
    reservation = ledger.reserve([query], budget=1, in_doubt='abandon')
    attempt = reservation.attempts[query]
    assert (state(ledger, query), ledger.spent, reservation.exhausted) == ('sent', 1, False)
    assert not ledger.reserve([query], budget=5, in_doubt='resend').attempts  # it is on its way
    ledger.settle([answer(attempt)])
    assert (state(ledger, query), ledger.spent) == ('settled', 1)
    assert not ledger.reserve([query], budget=5, in_doubt='resend').attempts
    columns = 'state, owner, response, height, width, query_bytes, response_bytes'
    assert list(ledger.rows(f'SELECT {columns} FROM queries')) == [('settled', None, 'response', 8, 10, 100, 200)]
    columns = 'outcome, charged, sent_bytes, received_bytes, note'
    assert list(ledger.rows(f'SELECT {columns} FROM attempts')) == [('settled', 1, 300, 400, 'a note')]


def test_the_charge_is_on_disk_before_reserve_returns(ledger, tmp_path):
    (query,) = registered(ledger, 1)
    ledger.reserve([query], budget=None, in_doubt='free')
    other = sqlite3.connect(tmp_path / 'ledger' / 'ledger.sqlite')
    assert other.execute('SELECT spent FROM account').fetchone() == (1,)
    assert other.execute('SELECT charged, outcome FROM attempts').fetchall() == [(1, 'sent')]
    other.close()


def test_the_budget_is_never_exceeded(ledger):
    queries = registered(ledger, 5)
    reservation = ledger.reserve(queries, budget=3, in_doubt='free')
    assert (list(reservation.attempts), reservation.exhausted, ledger.spent) == (queries[:3], True, 3)
    again = ledger.reserve(queries, budget=3, in_doubt='free')
    assert (again.attempts, again.exhausted) == ({}, True)
    ledger.refuse([reservation.attempts[queries[0]]], 'busy')
    assert ledger.spent == 2
    assert len(ledger.reserve(queries, budget=3, in_doubt='free').attempts) == 1


def test_a_refusal_takes_the_charge_back_and_keeps_the_key(ledger):
    (query,) = registered(ledger, 1)
    first = ledger.reserve([query], budget=1, in_doubt='free').attempts[query]
    ledger.refuse([first], 'busy')
    assert (state(ledger, query), ledger.spent) == ('open', 0)
    second = ledger.reserve([query], budget=1, in_doubt='free').attempts[query]
    assert (second.key, ledger.spent) == (first.key, 1)
    assert second.id != first.id


def test_a_refusal_may_use_up_the_key(ledger):
    (query,) = registered(ledger, 1)
    first = ledger.reserve([query], budget=1, in_doubt='free').attempts[query]
    ledger.refuse([first], 'the job failed', new_key=True)
    assert ledger.reserve([query], budget=1, in_doubt='free').attempts[query].key != first.key


@pytest.mark.parametrize(
    ('in_doubt', 'spent', 'after'), [('free', 1, 'sent'), ('resend', 2, 'sent'), ('abandon', 1, 'given up')]
)
def test_what_is_in_doubt(ledger, in_doubt, spent, after):
    (query,) = registered(ledger, 1)
    first = ledger.reserve([query], budget=None, in_doubt=in_doubt).attempts[query]
    ledger.doubt(first, 'time-out')
    assert (state(ledger, query), ledger.spent) == ('doubt', 1)
    again = ledger.reserve([query], budget=None, in_doubt=in_doubt).attempts
    assert (ledger.spent, state(ledger, query)) == (spent, after)
    assert [attempt.key == first.key for attempt in again.values()] == ([] if after == 'given up' else [True])


@pytest.mark.parametrize('in_doubt', ['free', 'resend'])
def test_a_refused_resend_leaves_the_doubt(ledger, in_doubt):
    """The first attempt may still have been answered: with another policy, it must not be sent as if it were new."""
    (query,) = registered(ledger, 1)
    ledger.doubt(ledger.reserve([query], budget=None, in_doubt=in_doubt).attempts[query], 'time-out')
    ledger.refuse(ledger.reserve([query], budget=None, in_doubt=in_doubt).attempts.values(), 'busy')
    assert (state(ledger, query), ledger.spent) == ('doubt', 1)
    assert not ledger.reserve([query], budget=None, in_doubt='abandon').attempts


def test_a_doubt_of_before_the_last_answer_is_forgotten(ledger):
    (query,) = registered(ledger, 1)
    ledger.doubt(ledger.reserve([query], budget=None, in_doubt='free').attempts[query], 'time-out')
    ledger.settle([answer(ledger.reserve([query], budget=None, in_doubt='free').attempts[query])])
    ledger.forget_answers([query], 'gone')
    ledger.refuse(ledger.reserve([query], budget=None, in_doubt='free').attempts.values(), 'busy')
    assert (state(ledger, query), ledger.spent) == ('open', 1)


def test_a_resend_in_doubt_needs_budget_only_where_it_is_charged(ledger):
    (query,) = registered(ledger, 1)
    ledger.doubt(ledger.reserve([query], budget=1, in_doubt='free').attempts[query], 'time-out')
    resent = ledger.reserve([query], budget=1, in_doubt='resend')
    assert (resent.attempts, resent.exhausted) == ({}, True)
    assert ledger.reserve([query], budget=1, in_doubt='free').attempts


def test_a_lost_answer_is_charged_again_under_the_same_key(ledger):
    """A service that still remembers the key does not charge; nobody knows whether it does."""
    (query,) = registered(ledger, 1)
    first = ledger.reserve([query], budget=None, in_doubt='free').attempts[query]
    ledger.settle([answer(first)])
    ledger.forget_answers([query], 'gone')
    second = ledger.reserve([query], budget=None, in_doubt='free').attempts[query]
    assert ledger.spent == 2
    assert second.key == first.key


def test_one_of_a_victim_that_is_here_is_not(ledger):
    (query,) = registered(ledger, 1)
    ledger.settle([answer(ledger.reserve([query], budget=None, in_doubt='free').attempts[query])])
    ledger.forget_answers([query], 'gone', free=True)
    assert query in ledger.reserve([query], budget=1, in_doubt='free').attempts
    assert ledger.spent == 1


def test_what_a_process_left_is_in_doubt_when_it_has_ended(tmp_path):
    with Ledger(tmp_path) as one, Ledger(tmp_path) as two:
        (query,) = registered(one, 1)
        one.reserve([query], budget=None, in_doubt='free')
        assert two.recover() == 0
        assert not two.reserve([query], budget=None, in_doubt='resend').attempts
        one.close()
        assert two.recover() == 1
        assert two.recover() == 0
        assert (state(two, query), two.spent) == ('doubt', 1)


def test_reserving_finds_the_dead_without_recovering_first(tmp_path):
    with Ledger(tmp_path) as one:
        (query,) = registered(one, 1)
        one.reserve([query], budget=None, in_doubt='free')
    with Ledger(tmp_path) as two:
        assert two.reserve([query], budget=1, in_doubt='free').attempts
        assert list(two.rows('SELECT outcome, charged FROM attempts')) == [('doubt', 1), ('sent', 0)]


def test_the_first_note_stays(ledger):
    assert ledger.note_first('fingerprint', fingerprint='a', name='x')['fingerprint'] == 'a'
    assert ledger.note_first('fingerprint', fingerprint='b', name='y') == {'fingerprint': 'a', 'name': 'x'}


# What happens to files


def test_no_ledger_is_made_where_one_is_only_read(tmp_path):
    with refused(tmp_path / 'nowhere', do='--status'):
        Ledger(tmp_path / 'nowhere', create=False)
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize('damage', ['text', 'header', 'middle'])
def test_a_damaged_ledger_is_refused_in_one_line(tmp_path, damage):
    with Ledger(tmp_path) as ledger:
        registered(ledger, 500)
    path = tmp_path / 'ledger.sqlite'
    data = path.read_bytes()
    path.write_bytes(
        {
            'text': b'this is no database' * 100,
            'header': bytes(16) + data[16:],
            'middle': data[:4096] + b'\xa5' * (len(data) - 4096),
        }[damage]
    )
    with refused(path, 'database') as caught, Ledger(tmp_path) as ledger:
        ledger.reserve([1], budget=None, in_doubt='free')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('how', ['emptied', 'removed'])
def test_a_ledger_that_is_gone_is_not_begun_anew_beside_paid_answers(tmp_path, how):
    with Ledger(tmp_path) as ledger:
        ledger.pair(1)[0].parent.mkdir(parents=True)
    for path in tmp_path.glob('ledger.sqlite*'):
        path.unlink()
    if how == 'emptied':
        (tmp_path / 'ledger.sqlite').touch()
    with refused(tmp_path / 'ledger.sqlite', 'pairs/'):
        Ledger(tmp_path)


def test_a_newer_ledger_is_refused(tmp_path):
    with Ledger(tmp_path) as ledger, ledger.transaction() as db:
        db.execute('PRAGMA user_version = 99')
    with refused(tmp_path / 'ledger.sqlite', '99'):
        Ledger(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / 'file').touch()
    with refused(tmp_path / 'file' / 'ledger' / 'ledger.sqlite', os.strerror(errno.ENOTDIR)):
        Ledger(tmp_path / 'file' / 'ledger')


def test_nothing_is_charged_when_the_disk_is_almost_full(ledger, monkeypatch):
    (query,) = registered(ledger, 1)
    usage = ledger_module.shutil.disk_usage(ledger.folder)
    monkeypatch.setattr(ledger_module.shutil, 'disk_usage', lambda path: usage._replace(free=5 << 20))
    with refused(ledger.folder, '5 MiB'):
        ledger.reserve([query], budget=None, in_doubt='free')
    monkeypatch.undo()
    assert (ledger.spent, state(ledger, query)) == (0, 'open')


def test_a_transaction_is_done_whole_or_not_at_all(ledger):
    with pytest.raises(KeyboardInterrupt), ledger.transaction() as db:
        db.execute('UPDATE account SET spent = 7')
        raise KeyboardInterrupt
    assert ledger.spent == 0
    ledger.note(a='b')  # and the connection is fit for the next


def test_a_commit_that_fails_leaves_no_transaction_behind(tmp_path):
    """As on a full disk; here, a constraint that is checked at the end."""
    with Ledger(tmp_path) as ledger:
        ledger._connection.execute('PRAGMA foreign_keys = ON')
        ledger._connection.execute('PRAGMA defer_foreign_keys = ON')
        with refused(tmp_path / 'ledger.sqlite', 'FOREIGN KEY'), ledger.transaction() as db:
            db.execute('PRAGMA defer_foreign_keys = ON')
            db.execute('INSERT INTO attempts (query, charged, started) VALUES (99, 1, 0)')
        assert charges(ledger) == 0
        ledger.note(a='b')


# Many processes


def _hammer(folder, budget, seed, ready):
    """Reserve, settle and refuse at random until the budget is spent."""
    rng = random.Random(seed)
    ready.wait()
    settled = 0
    with Ledger(folder) as ledger:
        queries = registered(ledger, 60)
        while True:
            rng.shuffle(queries)
            reservation = ledger.reserve(queries[:4], budget=budget, in_doubt='free')
            for attempt in reservation.attempts.values():
                if rng.random() < 0.3:
                    ledger.refuse([attempt], 'busy')
                else:
                    ledger.settle([answer(attempt)])
                    settled += 1
            if ledger.spent >= budget and not list(ledger.rows("SELECT 1 FROM queries WHERE state = 'sent'")):
                return settled


def test_processes_that_begin_at_once_share_one_budget(tmp_path):
    context = multiprocessing.get_context('fork')
    with context.Pool(4) as pool, context.Manager() as manager:
        ready = manager.Event()
        results = [pool.apply_async(_hammer, (str(tmp_path / 'ledger'), 25, seed, ready)) for seed in range(4)]
        ready.set()
        settled = sum(result.get(60) for result in results)
    with Ledger(tmp_path / 'ledger') as ledger:
        assert settled == ledger.spent == charges(ledger) == 25
        ((answered,),) = ledger.rows("SELECT COUNT(*) FROM queries WHERE state = 'settled'")
        assert answered == 25


# Any sequence of operations


class Accounts(RuleBasedStateMachine):
    """Two processes at one ledger; the model is a charge per attempt, as the service's own bill would have it."""

    folder: Path
    count = 0

    def __init__(self):
        super().__init__()
        type(self).count += 1
        self.place = self.folder / str(self.count)
        self.ledgers = [Ledger(self.place), Ledger(self.place)]
        self.queries: list[int] = []
        self.flying: list[dict[int, Attempt]] = [{}, {}]
        self.charged: dict[int, int] = {}
        self.largest = 0
        self.gone: set[int] = set()
        self.settled: set[int] = set()

    def teardown(self):
        for ledger in self.ledgers:
            ledger.close()

    process = st.integers(0, 1)

    @rule(process=process, contents=st.lists(st.integers(0, 5), min_size=1, max_size=4))
    def register(self, process, contents):
        numbers = self.ledgers[process].register((f's{one}', f'h{one}', (1, 1)) for one in contents)
        self.queries = sorted({*self.queries, *numbers.values()})

    @precondition(lambda self: self.queries)
    @rule(
        process=process,
        budget=st.one_of(st.none(), st.integers(1, 8)),
        in_doubt=st.sampled_from(['free', 'resend', 'abandon']),
        data=st.data(),
    )
    def reserve(self, process, budget, in_doubt, data):
        chosen = data.draw(st.lists(st.sampled_from(self.queries), min_size=1, max_size=4, unique=True))
        before = self.ledgers[process].spent
        reservation = self.ledgers[process].reserve(chosen, budget=budget, in_doubt=in_doubt)
        spent = self.ledgers[process].spent
        assert budget is None or spent <= max(budget, before)
        assert set(reservation.attempts) <= set(chosen)
        elsewhere = {*self.flying[0], *self.flying[1], *self.gone, *self.settled}
        assert not set(reservation.attempts) & elsewhere
        for query, attempt in reservation.attempts.items():
            self.flying[process][query] = attempt
            ((self.charged[attempt.id],),) = self.ledgers[process].rows(
                'SELECT charged FROM attempts WHERE id = ?', (attempt.id,)
            )
        assert spent - before == sum(self.charged[one.id] for one in reservation.attempts.values())
        if in_doubt == 'abandon':
            self._note_given_up()

    def _take(self, process, data):
        query = data.draw(st.sampled_from(sorted(self.flying[process])))
        return query, self.flying[process].pop(query)

    @precondition(lambda self: self.flying[0] or self.flying[1])
    @rule(what=st.sampled_from(['settle', 'refuse', 'refuse for good', 'doubt', 'doubt and give up']), data=st.data())
    def end(self, what, data):
        process = data.draw(st.sampled_from([one for one in (0, 1) if self.flying[one]]))
        query, attempt = self._take(process, data)
        ledger = self.ledgers[process]
        if what == 'settle':
            ledger.settle([answer(attempt)])
            self.settled.add(query)
        elif what.startswith('refuse'):
            ledger.refuse([attempt], 'busy', new_key=what != 'refuse')
            self.charged[attempt.id] = 0
        else:
            ledger.doubt(attempt, 'time-out')
            if what != 'doubt':
                ledger.give_up(query)
                self.gone.add(query)

    @precondition(lambda self: self.settled)
    @rule(process=process, data=st.data())
    def lose_answer(self, process, data):
        query = data.draw(st.sampled_from(sorted(self.settled)))
        self.ledgers[process].forget_answers([query], 'gone')
        self.settled.discard(query)

    @rule(process=process)
    def die(self, process):
        """What was on its way is in doubt as soon as anyone looks."""
        self.ledgers[process].close()
        self.ledgers[process] = Ledger(self.place)
        self.flying[process] = {}

    @rule(process=process)
    def recover(self, process):
        self.ledgers[process].recover()
        rows = self.ledgers[process].rows("SELECT id FROM queries WHERE state = 'sent'")
        assert {query for (query,) in rows} == {*self.flying[0], *self.flying[1]}

    def _note_given_up(self):
        rows = self.ledgers[0].rows("SELECT id FROM queries WHERE state = 'given up'")
        self.gone |= {query for (query,) in rows}

    @invariant()
    def spent_is_the_sum_of_charges(self):
        spent = self.ledgers[0].spent
        assert spent == charges(self.ledgers[1]) == sum(self.charged.values()) >= 0

    @invariant()
    def states_are_as_they_should_be(self):
        found = dict(self.ledgers[0].rows('SELECT id, state FROM queries'))
        assert {query for query, one in found.items() if one == 'settled'} == self.settled
        assert {query for query, one in found.items() if one == 'given up'} == self.gone
        open_ones = {query for query, one in found.items() if one == 'open'}
        # An open query has nothing in doubt since it was last answered.
        assert not open_ones & {query for query in open_ones if self._doubts(query)}

    def _doubts(self, query):
        outcomes = [one for (one,) in self.ledgers[0].rows(
            'SELECT outcome FROM attempts WHERE query = ? ORDER BY id', (query,)
        )]  # fmt: skip
        while 'settled' in outcomes:
            outcomes = outcomes[outcomes.index('settled') + 1 :]
        return 'doubt' in outcomes


def test_spent_is_the_sum_of_charges_after_any_sequence_of_operations(tmp_path, monkeypatch):
    monkeypatch.setattr(Accounts, 'folder', tmp_path, raising=False)
    run_state_machine_as_test(
        Accounts,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
