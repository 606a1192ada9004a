"""Crews: runs that compute together, on a clock that only those who compute move. Shares, leaving, and nothing lost."""

import random
import threading
import time

import pytest
from test_turns import STEP, House

from genarium.errors import Stopped
from genarium.runtime.crews import Joinable
from genarium.runtime.flows import GRAIN
from genarium.runtime.turns import QUANTUM, Turns
from genarium.runtime.visitors import Stop, Visitor


class JointHouse(House):
    """A house whose runs of a kind compute together: a step takes as long for all as for one."""

    def come(self, address, steps, page="", kind=None, samples=1, meanwhile=lambda number: None):
        joinable = Joinable(kind, samples, address) if kind else None
        turn = self.turns.ask(Stop(), Visitor(address, page), STEP * steps, joinable)

        def work():
            try:
                with turn:
                    if turn.rode:
                        return
                    others = turn.take_along(32)
                    for i in range(steps):
                        self.log += [(one.visitor.address, STEP, self.now) for one in (turn, *others) if one.here]
                        meanwhile(i)
                        self.now += STEP
                        turn.pause((steps - i - 1) * STEP)
                    for one in (turn, *others):
                        if one.here:
                            self.ended[one.visitor.address] = self.now
                            one.leave()
            except Stopped:
                pass
            except BaseException as error:
                self.problems.append(error)

        waiting = self.turns.waiting
        self.came.setdefault(address, self.now)
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()
        while self.turns.waiting == waiting:
            assert thread.is_alive()
            time.sleep(0.0005)
        return turn

    def tag(self, address):
        return self.turns._all.flows[address].tag


@pytest.fixture
def house():
    made = JointHouse()
    yield made
    for thread in made.threads:
        thread.join(10)
    assert made.empty() and not made.problems


def test_a_crew_gets_what_its_members_would_get_together(house):
    with house.gathering():
        for i in range(4):
            house.come(f"member {i}", 80, kind="a")
        house.come("outsider", 20)
    [end] = {house.ended[f"member {i}"] for i in range(4)}
    assert end == pytest.approx(10, abs=GRAIN), "all at once, after 8 s of theirs and 2 of the outsider's"
    for moment in range(1, 9):
        assert house.had("outsider", moment) == pytest.approx(moment / 5, abs=STEP + GRAIN)


def test_each_member_pays_for_its_samples(house):
    tags = []

    def look(step):
        with house.turns.lock:
            house.turns._count()
            tags.append([house.tag(name) for name in ("big", "small")])

    with house.gathering():
        house.come("big", 50, kind="a", samples=9, meanwhile=look)
        house.come("small", 50, kind="a", samples=1, meanwhile=look)
        house.come("outsider", 50)
    big, small = (after - before for before, after in zip(tags[10], tags[40], strict=True))
    assert big == pytest.approx(9 * small) and big + small == pytest.approx(30 * STEP)
    assert house.had("outsider", 6.0) >= 6.0 * 0.9 / 1.9 - GRAIN - STEP, "the small one's low tag serves nobody else"


def test_it_takes_along_who_waits_for_the_same_and_is_no_longer(house):
    with house.gathering():
        first = house.come("a", 5, kind="x", samples=4)
        same = house.come("b", 5, kind="x", samples=4)
        longer = house.come("c", 5, kind="x", samples=5)
        other = house.come("d", 5, kind="y", samples=4)
        alone = house.come("e", 5)
        page = house.come("b", 5, page="another", kind="x", samples=2)
    assert same.crew is page.crew is first.crew
    assert not any(turn.rode for turn in (first, longer, other, alone)) and same.rode and page.rode


def test_who_has_begun_is_not_taken_along_any_more(house):
    def newcomer(step):
        if step == 3:
            house.come("late", 5, kind="a")

    with house.gathering():
        early = house.come("early", 20, kind="a", meanwhile=newcomer)
    assert house.ended["late"] and len({turn.crew for turn in (early,)}) == 1
    assert house.began("late") > house.began("early") and house.had("late") == 5 * STEP


def test_a_batch_has_an_end(house):
    with house.gathering():
        turns = [house.come(f"visitor {i}", 3, kind="a", samples=10) for i in range(7)]
    assert sorted(sum(turn.crew is other.crew for other in turns) for turn in turns) == [1, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_member_that_leaves_pays_nothing_more_and_the_others_go_on(house, who):
    turns = []

    def leave(step):
        if step == 10:
            turns[who].stop.set()
            if who == 0:  # whoever computes sees its own stop at its next step
                turns[0].leave()
            while turns[who].here:
                time.sleep(0.001)

    with house.gathering():
        for i in range(3):
            turns.append(house.come(f"member {i}", 40, kind="a", meanwhile=leave))
        house.come("outsider", 40)
    assert set(house.ended) == {f"member {i}" for i in range(3) if i != who} | {"outsider"}
    assert house.had(f"member {who}") == pytest.approx(11 * STEP)
    moments = house.ended["outsider"] - 2
    share = house.had("outsider", moments) - house.had("outsider", moments - 2)
    assert share >= 2 / 3 - STEP - 1e-9, "one of three now"


def test_a_stop_reaches_who_waits_with_a_crew(house):
    turns = []

    def stop(step):
        if step == 5:
            for turn in turns:
                turn.stop.set()

    with house.gathering():
        for i in range(3):
            turns.append(house.come(f"member {i}", 400, kind="a"))
        house.come("outsider", 30, meanwhile=stop)
    assert set(house.ended) == {"outsider"} and house.now < 12


def test_an_outlook_is_the_whole_crew_s(house):
    seen = []

    def look(step):
        if step == 10:
            seen.extend((big.outlook(), small.outlook()))

    with house.gathering():
        big = house.come("big", 50, kind="a", samples=9, meanwhile=look)
        small = house.come("small", 50, kind="a", samples=3, meanwhile=look)
    for outlook in seen:
        assert (
            outlook.before == 0
            and (outlook.others, outlook.together) == (0, 1)
            and outlook.seconds == pytest.approx(40 * STEP)
        )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_stopped_and_whenever_no_more_compute_than_can(seed):
    """On the real clock, with two at once: nothing hangs, nothing is lost."""
    turns, chance, lock = Turns(slots=2), random.Random(seed), threading.Lock()
    computing, most, ended = set(), [0], []
    stops = [Stop() for _ in range(40)]

    def run(i, steps, turn):
        try:
            with turn:
                if turn.rode:
                    return
                crew = [turn, *turn.take_along(8)]
                for _ in range(steps):
                    with lock:
                        computing.add(i)
                        most[0] = max(most[0], len(computing))
                    time.sleep(QUANTUM / 20)
                    with lock:
                        computing.discard(i)
                    if crew[0].stop.is_set():
                        crew[0].leave()
                    if not any(one.here for one in crew):
                        raise Stopped("Stopped.")
                    turn.crew.quantum = 0.0  # a switch at each step
                    turn.pause(None)
                for one in crew:
                    if one.here:
                        ended.append(one)
                        one.leave()
        except Stopped:
            pass

    threads = []
    for i, stop in enumerate(stops):
        joinable = chance.choice([None, Joinable("a", 1), Joinable("b", chance.randint(1, 3))])
        turn = turns.ask(stop, Visitor(f"visitor {i % 7}", str(i % 3)), 1.0, joinable)
        threads.append(threading.Thread(target=run, args=(i, chance.randint(1, 8), turn), daemon=True))
    for thread in threads:
        thread.start()
        if chance.random() < 0.5:
            chance.choice(stops).set()
        time.sleep(0.002)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert most[0] <= 2 and ended
    assert not (turns.waiting or turns._holding or turns._all.number)
