"""The store: one thread, one transaction for many calls, and files that are no store."""

import asyncio
import sqlite3
import stat

import pytest

from mea_plugin.serving.database import Database, open_store
from tests.helpers import refused


def insert(connection, name):
    connection.execute('INSERT INTO keys (name, created) VALUES (?, 0)', (name,))
    if name.startswith('bad'):
        raise KeyError(name)
    return name


def names(connection):
    return [row[0] for row in connection.execute('SELECT name FROM keys ORDER BY id')]


def test_calls_run_together_and_fail_alone(tmp_path):
    async def main():
        database = Database(tmp_path / 'new' / 's.sqlite')
        wanted = ['a', 'bad 1', 'b', 'c', 'bad 2']
        results = await asyncio.gather(
            *(database.call(insert, name, durable=True) for name in wanted), return_exceptions=True
        )
        found = await database.call(names)
        database.close()
        return results, found

    results, found = asyncio.run(main())
    assert [str(result) for result in results] == ['a', "'bad 1'", 'b', 'c', "'bad 2'"]
    assert found == ['a', 'b', 'c']
    connection = open_store(tmp_path / 'new' / 's.sqlite', check=True)
    assert names(connection) == ['a', 'b', 'c']
    connection.close()


def test_nobody_hears_of_what_was_not_committed(tmp_path):
    async def main():
        database = Database(tmp_path / 's.sqlite')
        # A foreign key that is checked when the transaction ends makes the commit fail, as a full disk would.
        await database.call(lambda connection: connection.execute('CREATE TABLE late (x REFERENCES keys (id) '
                                                                  'DEFERRABLE INITIALLY DEFERRED)'))  # fmt: skip
        hold = asyncio.Event()

        def wait(_):
            loop.call_soon_threadsafe(hold.set)
            gate.wait(30)

        import threading

        gate, loop = threading.Event(), asyncio.get_running_loop()
        first = asyncio.ensure_future(database.call(wait))
        await hold.wait()  # the thread is busy: the next two share a transaction
        together = [
            asyncio.ensure_future(database.call(insert, 'good')),
            asyncio.ensure_future(database.call(lambda c: c.execute('INSERT INTO late VALUES (99)') and None)),
        ]
        await asyncio.sleep(0)
        gate.set()
        await first
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        found = await database.call(names)
        await database.call(insert, 'after')
        again = await database.call(names)
        database.close()
        return outcomes, found, again

    outcomes, found, again = asyncio.run(main())
    assert [type(outcome) for outcome in outcomes] == [sqlite3.IntegrityError] * 2
    assert found == []
    assert again == ['after']


def test_only_durable_calls_wait_for_the_disk(tmp_path):
    async def main():
        database = Database(tmp_path / 's.sqlite')
        levels = [
            await database.call(lambda c: c.execute('PRAGMA synchronous').fetchone()[0], durable=durable)
            for durable in (True, False, True)
        ]
        mode = await database.call(lambda c: c.execute('PRAGMA journal_mode').fetchone()[0])
        database.close()
        return levels, mode

    assert asyncio.run(main()) == ([2, 1, 2], 'wal')  # FULL, NORMAL


def test_one_service_per_store(tmp_path):
    database = Database(tmp_path / 's.sqlite')
    with refused('s.sqlite'):
        Database(tmp_path / 's.sqlite')
    open_store(tmp_path / 's.sqlite').close()  # keys can be managed all the same
    database.close()
    Database(tmp_path / 's.sqlite').close()


def test_a_store_is_private(tmp_path):
    open_store(tmp_path / 's.sqlite').close()
    assert stat.S_IMODE((tmp_path / 's.sqlite').stat().st_mode) == 0o600


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    for call in (open_store, Database):
        with refused(tmp_path / 'file' / 's.sqlite', 'File exists'):  # the system's own words
            call(tmp_path / 'file' / 's.sqlite')
        with refused(tmp_path, 'unable to open database file'):  # SQLite's own
            call(tmp_path)


@pytest.mark.parametrize(
    ('damage', 'reason'),  # SQLite's own words
    [('garbage', 'not a database'), ('cut', 'malformed'), ('overwritten', 'database main')],
)
def test_a_damaged_store_is_refused(tmp_path, damage, reason):
    path = tmp_path / 's.sqlite'
    connection = open_store(path)
    connection.executemany('INSERT INTO keys (name, created) VALUES (?, 0)', [(f'{i:0400}',) for i in range(200)])
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    connection.close()
    content = path.read_bytes()
    assert len(content) > 8 * 4096
    if damage == 'garbage':
        path.write_bytes(b'not a database' * 1000)
    elif damage == 'cut':
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[: 4 * 4096] + b'\x55' * (len(content) - 4 * 4096))
    with refused(path, reason):
        Database(path)


def test_another_database_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / 'other.sqlite')
    connection.execute('CREATE TABLE mine (x)')
    connection.close()
    with refused('other.sqlite'):
        open_store(tmp_path / 'other.sqlite')
    connection = sqlite3.connect(tmp_path / 'other.sqlite')
    assert connection.execute('SELECT name FROM sqlite_master').fetchall() == [('mine',)]
    connection.close()
