"""Turns between runs, on a clock that only those who compute move: shares, waits, stops, and nothing lost."""

import contextlib
import os
import random
import threading
import time

import pytest

from genarium.errors import Stopped
from genarium.runtime import turns as module
from genarium.runtime.flows import GRAIN
from genarium.runtime.turns import QUANTUM, Turns
from genarium.runtime.visitors import Stop, Visitor

STEP = 0.1  # seconds of one step, more than a quantum


class House:
    """Runs of visitors in threads, of which one computes at a time; `log` has who computed how long, and from when."""

    def __init__(self):
        self.now = 0.0
        self.turns = Turns(clock=lambda: self.now)
        self.log: list[tuple[str, float, float]] = []
        self.ended: dict[str, float] = {}
        self.came: dict[str, float] = {}
        self.threads: list[threading.Thread] = []
        self.problems: list[BaseException] = []

    def come(self, address, steps, page="", known=True, meanwhile=lambda number: None):
        """Let a run of so many steps, or with these seconds for each, wait for its turn."""
        costs = [STEP] * steps if isinstance(steps, int) else steps
        turn = self.turns.ask(Stop(), Visitor(address, page), sum(costs) if known else None)
        name = address + page

        def work():
            try:
                with turn:
                    for i, cost in enumerate(costs):
                        self.log.append((name, cost, self.now))
                        meanwhile(i)
                        self.now += cost
                        turn.pause(sum(costs[i + 1 :]))
                self.ended[name] = self.now
            except BaseException as error:
                self.problems.append(error)

        waiting = self.turns.waiting
        thread = threading.Thread(target=work, daemon=True)
        self.came.setdefault(name, self.now)
        self.threads.append(thread)
        thread.start()
        while self.turns.waiting == waiting:  # until it waits
            assert thread.is_alive()
            time.sleep(0.0005)
        return turn

    @contextlib.contextmanager
    def gathering(self):
        """Hold the turn while visitors come, then let them all compute to their ends."""
        with self.turns.ask(Stop(), Visitor("door")):
            yield
        for thread in self.threads:  # also those that come meanwhile
            thread.join(60)
            assert not thread.is_alive()

    def began(self, name):
        return next(start for who, _, start in self.log if who == name)

    def had(self, name, until=float("inf")):
        """Return the seconds that a visitor's runs have computed by a time."""
        return sum(min(cost, max(0.0, until - start)) for who, cost, start in self.log if who == name)

    def empty(self):
        return not (self.turns.waiting or self.turns._holding or self.turns._all.flows)


@pytest.fixture
def house():
    made = House()
    yield made
    for thread in made.threads:
        thread.join(10)
    assert made.empty(), "nothing of a run stays"


def test_two_visitors_share_equally_though_one_has_ten_runs(house):
    with house.gathering():
        for _ in range(10):
            house.come("greedy", 60)
        house.come("modest", 60)
    end = house.ended["modest"]
    assert end <= 2 * 60 * STEP + STEP
    for moment in range(1, int(end)):
        assert abs(house.had("greedy", moment) - house.had("modest", moment)) <= STEP + 1e-9


def test_who_computes_beside_many_ends_within_the_fair_share(house):
    """All come together; each needs as much. Start-time fair queueing lets nobody end later than all computing together."""
    number = 12
    with house.gathering():
        for i in range(number):
            house.come(f"visitor {i}", 30)
    for i in range(number):
        assert house.ended[f"visitor {i}"] <= number * 30 * STEP + 1e-9
    moment = number * 10 * STEP
    shares = [house.had(f"visitor {i}", moment) for i in range(number)]
    assert max(shares) - min(shares) <= STEP + 1e-9, "they take turns at each step"


def test_a_newcomer_waits_for_one_quantum_among_forty(house):
    def newcomer(step):
        if step == 5:
            house.come("new", 50, known=False)

    with house.gathering():
        house.come("first", 50, meanwhile=newcomer)
        for i in range(39):
            house.come(f"visitor {i}", 50)
    assert house.came["new"] > 0 and house.began("new") - house.came["new"] <= STEP + 1e-9


def test_a_short_run_is_not_interrupted_by_long_ones(house):
    def newcomer(step):
        if step == 2:
            house.come("short", [0.3 * GRAIN] * 3)

    with house.gathering():
        house.come("first", 50, meanwhile=newcomer)
        for i in range(9):
            house.come(f"visitor {i}", 50)
    assert house.ended["short"] - house.came["short"] <= STEP + 0.9 * GRAIN + 1e-9


def test_many_short_runs_get_no_more_than_a_grain_beyond_their_share(house):
    with house.gathering():
        house.come("long", 200)
        for _ in range(100):
            house.come("short", [0.2])
    assert house.ended["long"] - house.began("long") <= 200 * STEP + 20 + GRAIN
    for moment in range(1, 39):
        assert house.had("short", moment) <= house.had("long", moment) + GRAIN + 0.2 + 1e-9


def test_the_shorter_of_a_page_s_runs_goes_first_and_is_not_mixed_with_the_other(house):
    with house.gathering():
        house.come("a", 40)
        house.come("a", 20)
    costs = [start for _, _, start in house.log]
    assert costs == sorted(costs) and house.ended["a"] == pytest.approx(60 * STEP)
    with house.gathering():
        house.come("b", [0.3] * 9)
        house.come("b", [0.2] * 9)
    assert [cost for who, cost, _ in house.log if who == "b"] == [0.2] * 9 + [0.3] * 9


def test_pages_share_what_is_their_address_s(house):
    with house.gathering():
        house.come("class", 100, "/1")
        house.come("class", 100, "/2")
        house.come("home", 200)
    moment = 20.0
    assert house.had("home", moment) == pytest.approx(10, abs=2 * STEP)
    assert house.had("class/1", moment) == pytest.approx(5, abs=2 * STEP)


def test_who_was_alone_owes_nothing_and_who_left_gains_nothing(house):
    def second(step):
        if step == 100:
            house.come("second", 50)

    with house.gathering():
        house.come("first", 150, meanwhile=second)
    came = house.came["second"]
    assert came == pytest.approx(10)
    assert house.had("first", came + 8) - house.had("first", came) == pytest.approx(4, abs=2 * STEP)


def test_leaving_and_coming_back_is_no_way_to_get_more(house):
    def again(number):
        def come(step):
            if step == 2 and number:  # the next run comes before this one ends, and after it has computed most
                house.come("quick", 3, known=False, meanwhile=again(number - 1))

        return come

    with house.gathering():
        house.come("patient", 60)
        house.come("quick", 3, known=False, meanwhile=again(30))
    moment = house.ended["patient"]
    assert house.had("quick", moment) <= house.had("patient", moment) + GRAIN + STEP + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_no_two_visitors_differ_by_more_than_the_bound(house, seed):
    """Goyal, Vin and Cheng's bound, with a grain for each of the two: over any time in which both wait or compute."""
    chance = random.Random(seed)
    longest = 0.0
    with house.gathering():
        for i in range(5):
            for _ in range(chance.randint(1, 3)):
                costs = [chance.choice([0.01, 0.06, 0.3, 0.7]) for _ in range(chance.randint(1, 30))]
                longest = max(longest, *costs)
                house.come(f"visitor {i}", costs, known=chance.random() < 0.7)
    quantum = QUANTUM + longest
    together = min(house.ended.values())
    for a in range(5):
        for b in range(a):
            for start in (0.0, together / 3, together / 2):
                first, second = (house.had(f"visitor {i}", together) - house.had(f"visitor {i}", start) for i in (a, b))
                assert abs(first - second) <= 2 * (GRAIN + quantum)


def test_no_more_switches_than_quanta(house):
    with house.gathering():
        for name in "ab":
            house.come(name, [0.001] * 3000)
    switches = sum(one[0] != other[0] for one, other in zip(house.log, house.log[1:]))
    assert 3 / QUANTUM < switches <= 6 / QUANTUM + 1


def test_a_run_that_nobody_waits_for_goes_on_without_a_lock(house):
    turn = house.turns.ask(Stop(), rest=None)
    with turn:
        house.turns.lock, lock = None, house.turns.lock  # whoever takes it fails
        house.now += 10
        assert turn.pause(5.0) == 0.0
        house.turns.lock = lock


def waits(turns, number):
    while turns.waiting != number:
        time.sleep(0.0005)


def test_a_stop_wakes_who_waits(house):
    stop, said = Stop(), []

    def work():
        try:
            with house.turns.ask(stop):
                said.append("computed")
        except Stopped as error:
            said.append(str(error))

    with house.turns.ask(Stop()):
        thread = threading.Thread(target=work)
        thread.start()
        waits(house.turns, 1)
        stop.set()
        thread.join(10)
        assert said == ["Stopped before it began."] and house.turns.waiting == 0
    with pytest.raises(Stopped), house.turns.ask(stop):
        pass
    assert house.empty()


def test_a_stop_wakes_who_has_paused(house):
    said, stop = [], Stop()

    def work():
        turn = house.turns.ask(stop, Visitor("stopped"))
        try:
            with turn:
                waits(house.turns, 1)
                house.now += 10
                turn.pause(100)
        except Stopped as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    while not house.turns._holding:
        time.sleep(0.0005)
    with house.turns.ask(Stop(), Visitor("other")):  # comes when the other pauses
        waits(house.turns, 1)
        stop.set()
        thread.join(10)
        assert said == ["Stopped."] and house.turns.waiting == 0


def test_an_exception_gives_the_turn_to_the_next(house):
    def fail(step):
        if step == 3:
            raise RuntimeError("a plugin")

    with house.gathering():
        house.come("bad", 10, meanwhile=fail)
        house.come("good", 10)
    assert [type(problem) for problem in house.problems] == [RuntimeError]
    assert house.had("good") == pytest.approx(1) and "bad" not in house.ended


def test_several_compute_at_once_where_there_is_room():
    turns, inside, most = Turns(slots=2), [], []
    barrier = threading.Barrier(2, timeout=30)

    def work():
        with turns.ask(Stop()):
            inside.append(1)
            most.append(len(inside))
            barrier.wait()
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 6 and max(most) == 2


def test_what_is_loaded_counts_for_nobody(house):
    with house.turns.ask(Stop(), Visitor("a")) as turn:
        house.now += 5
        turn.skip()
        house.now += 1
        house.come("b", 20)
        assert turn.path[1].tag == pytest.approx(1)


def test_the_outlook_of_a_run_that_shares(house):
    """Each of two visitors gets half: who needs 4 s beside one of 10 s ends after 8 s, and the other after 14 s."""
    seen = []

    def look(step):
        if step == 0:
            seen.append((a.outlook(), b.outlook(), later.outlook()))

    with house.gathering():
        a = house.come("a", 100, meanwhile=look)
        b = house.come("b", 40, meanwhile=look)
        later = house.come("a", 200)
    of_a, of_b, of_later = seen[0]  # b computes its first step
    assert of_b.before == 0 and of_b.others == 2 and of_b.seconds == pytest.approx(8)
    assert of_a.before == 1 and of_a.seconds == 0, "its turn comes at the next pause"
    assert of_later.before == 2 and of_later.seconds == pytest.approx(14), "after the other run of its page"
    of_a, of_b, _ = seen[1]  # a computes its first step, after one of b's
    assert of_a.before == 0 and of_a.seconds == pytest.approx(14 - STEP)
    assert of_b.seconds == pytest.approx(8 - STEP)
    assert house.ended["b"] == pytest.approx(8, abs=STEP + GRAIN)


def test_an_outlook_without_known_lengths(house):
    with house.turns.ask(Stop(), Visitor("a")) as turn:
        assert turn.outlook().seconds is None and turn.outlook().others == 0
        waiting = house.come("a", 5)
        assert waiting.outlook().seconds == 0 and waiting.outlook().before == 1
        last = house.come("a", 5, known=False)
        assert last.outlook().before == 2 and last.outlook().seconds is None
        assert house.turns.ask(Stop()).outlook() == module.Outlook(), "it has not come"
        turn.pause(1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_turns_of_its_own():
    turns = Turns()
    with turns.ask(Stop()):  # another run holds the turn, in this process
        child = os.fork()
        if child == 0:
            with turns.ours.ask(Stop()):
                os._exit(7)
        deadline = time.monotonic() + 30
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, 9)
            time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 7 and turns.ours is turns
