"""A minute of chaos, and that it would be seen if the books disagreed."""

import time

import pytest

from tests.chaos import rounds
from tests.chaos.faults import AFTER, BEFORE, FAULTS
from tests.chaos.parties import FaultyService, free_port
from tests.chaos.rounds import MEMORY, Plan, Tally, largest_child, play
from tests.chaos.service import Settings

SECONDS = 60


@pytest.mark.slow
@pytest.mark.modern_only
@pytest.mark.timeout(400)
def test_a_minute_of_chaos_loses_nothing_and_pays_nothing_twice(tmp_path):
    total, until = Tally(), time.monotonic() + SECONDS
    for seed in range(6, 100):  # 6 is the service of this package
        if time.monotonic() > until:
            break
        (tmp_path / str(seed)).mkdir()
        total.add(play(Plan.draw(seed), tmp_path / str(seed)))
    print(total)
    assert total.clean, str(total)
    assert total.requests > 100
    assert len(total.faults) > 20
    assert total.kills.total() > 5
    assert largest_child() < MEMORY


@pytest.mark.slow
@pytest.mark.modern_only
@pytest.mark.timeout(200)
def test_a_service_that_bills_what_the_option_file_says_it_does_not_is_seen(tmp_path, monkeypatch):
    def billing_errors(plan, folder):
        books = str(folder / 'books.sqlite')
        faults = ['500 after billing']
        settings = Settings(books, free_port(), plan.seed, plan.idempotent, faults, plan.chance, delay=0)
        return FaultyService(settings, {'unbilled': [500]})

    monkeypatch.setattr(rounds, 'faulty_service', billing_errors)
    plan = Plan(1, False, 12, False, 'abandon', False, budget=12, chance=1.0, kills=0, service_kills=0)
    tally = play(plan, tmp_path)
    assert tally.paid_twice > 0
    assert tally.uncounted > 0
    assert not tally.clean


def test_every_fault_has_its_place_and_plans_repeat():
    assert not set(BEFORE) & set(AFTER)
    assert {name for name, fault in FAULTS.items() if fault.billed} == set(AFTER)
    assert Plan.draw(5) == Plan.draw(5) != Plan.draw(8)
    assert {Plan.draw(seed).own for seed in range(7)} == {False, True}
