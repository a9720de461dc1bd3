"""A minute of chaos, and that it would be seen if the books disagreed."""

import re
import subprocess
import sys

import pytest

from tests.chaos import rounds
from tests.chaos.faults import AFTER, BEFORE, FAULTS
from tests.chaos.parties import FaultyService, free_port
from tests.chaos.rounds import Plan, play
from tests.chaos.service import Settings
from tests.helpers import ROOT


@pytest.mark.slow
@pytest.mark.modern_only
@pytest.mark.timeout(400)
def test_a_minute_of_chaos_loses_nothing_and_pays_nothing_twice():
    """In a process of its own, whose largest child is measured; seed 6 is the service of this package."""
    command = [sys.executable, '-m', 'tests.chaos', '--minutes', '1', '--seed', '6']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r'(\d+) rounds\nrequests (\d+), faults (\d+) of (\d+) kinds', done.stdout)
    rounds, requests, faults, kinds = map(int, counts.groups())
    assert rounds >= 2
    assert requests > faults > kinds > 10
    assert 'lost 0, paid twice 0, uncounted 0, wrong 0\nlargest process' in done.stdout


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
