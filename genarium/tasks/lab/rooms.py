"""The trainings of the Lab's visitors: a room for each page, with a thread that learns while the page asks for frames.

A page asks; nothing is sent to it unasked. So a slow connection gets fewer frames and never late ones, and a room whose page
has been closed notices that nobody asks, and ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from genarium.errors import GenariumError, InputError, Stopped
from genarium.runtime import Runtime, Stop, Visitor
from genarium.tasks.lab.data import parse_points
from genarium.tasks.lab.experiment import Experiment, pack_points
from genarium.tasks.lab.frame import Frame, pack
from genarium.tasks.lab.gradients import frames
from genarium.tasks.lab.question import Question
from genarium.tasks.lab.training import run
from genarium.tasks.lab.views import show

FRAME_SECONDS = 1 / 16  # at most so often a room makes a frame; the browser draws those between
BREATH_SECONDS = 0.004  # between two turns, in which another run can take its own
ASKING_SECONDS = 5.0  # a question for frames is answered by then, with or without news
LEFT_SECONDS = 20.0  # a page that has not asked for so long was closed
ROOM_SECONDS = 3600.0  # of a room's life, though its page stays open
MAX_ROOMS = 40
ROOMS_PER_CLIENT = 6
MAX_WAITING = 240  # frames that wait for the page; of more, the older half is thinned out
MAX_SENT = 16  # frames in one answer
MAX_TEXT = 2**20  # characters of a CSV file

UNKNOWN = "The Lab does not know what that means; reload the page."

log = logging.getLogger(__name__)


class Room(ABC):
    """One page's thread, and the frames that it has made.

    A subclass says in `_once` what the thread does next.

    Args:
        client: who asked, by address.
        turn: the runtime's `turn`.

    Attributes:
        state: "waiting" for a turn, "learning", "held", "showing" a view, "done", or "ended".
    """

    def __init__(self, client: str, turn: Callable[[Stop], Any]):
        self.ticket = secrets.token_urlsafe(12)
        self.client, self.state, self.problem = client, "waiting", ""
        self.asked = self.opened = time.monotonic()
        self._turn, self._stop = turn, Stop()
        self._change = threading.Condition()
        self._frames: list[tuple[int, int, int, Frame]] = []  # number, side, wish that it answers, frame
        self._number = 0

    def begin(self) -> dict[str, Any]:
        """Start the thread, and return what the page needs at the beginning."""
        threading.Thread(target=self._work, name="lab", daemon=True).start()
        return {"ticket": self.ticket}

    def tell(self, message: Mapping[str, Any]) -> None:
        """Take in what the visitor does.

        Raises:
            InputError: it means nothing here.
        """
        raise InputError(UNKNOWN)

    def leave(self) -> None:
        """End the room."""
        self._stop.set()
        with self._change:
            self._change.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether the page has been closed, or the room's time is up."""
        now = time.monotonic()
        return self._stop.is_set() or now - self.asked > LEFT_SECONDS or now - self.opened > ROOM_SECONDS

    def news(self, after: int) -> dict[str, Any]:
        """Return the state, and the frames that came after the one of a number, as JSON."""
        with self._change:
            self._frames = [one for one in self._frames if one[0] > after]
            frames, state, problem = self._frames[:MAX_SENT], self.state, self.problem
        packed = [{"number": n, "which": side, "look": wish, **frame.to_json()} for n, side, wish, frame in frames]
        return {"state": state, "problem": problem, "frames": packed}

    # ---- the thread ----

    @abstractmethod
    def _once(self) -> None:
        """Do the next thing, or wait until there is something to do."""

    def _work(self) -> None:
        try:
            while not self.is_over:
                self._once()
        except Stopped:
            pass
        except GenariumError as error:
            self.problem = str(error)
        except Exception:
            log.exception("A training of the Lab has failed")
            self.problem = "failed"
        finally:
            self._stop.set()
            self.state = "ended"

    def _push(self, side: int, wish: int, frame: Frame) -> None:
        with self._change:
            self._number += 1
            self._frames.append((self._number, side, wish, frame))
            if len(self._frames) > MAX_WAITING:  # the page is slow: of the older half every second moment is left out
                self._frames = [one for i, one in enumerate(self._frames) if i >= MAX_WAITING // 2 or i % 4 < 2]

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._stop.wait(seconds)


class GradientRoom(Room):
    """The estimators of a gradient, one after another, for the lesson about them."""

    def __init__(self, client: str, turn: Callable[[Stop], Any], seed: int):
        super().__init__(client, turn)
        self._left = frames(seed, self._stop)

    def _once(self) -> None:
        with self._turn(self._stop):
            frame = next(self._left, None)
        if frame is not None:
            self.state = "showing"
            self._push(0, 0, frame)
            self._pause(BREATH_SECONDS)
            return
        self.state = "done"
        with self._change:
            self._change.wait(1.0)


class TrainingRoom(Room):
    """One page's training, and what the page shows of it.

    Args:
        experiment: what is learnt.
        client, turn: see `Room`.
        held: whether to make no step yet.

    Raises:
        InputError: the experiment cannot be done.
    """

    def __init__(self, experiment: Experiment, client: str, turn: Callable[[Stop], Any], held: bool = False):
        super().__init__(client, turn)
        self._questions = list(experiment.sides)
        data = experiment.own_points()
        self._trainings = [run(question, self._stop, data) for question in self._questions]
        self._finished = [False] * len(self._trainings)
        self._held, self._steps = held, 0
        self._to_show: set[int] = set()  # sides whose view is to be made
        self._looks: set[int] = set()  # sides whose view has changed
        self._wishes = [0] * len(self._trainings)  # number of the page's newest wish for a view, of each side

    def begin(self) -> dict[str, Any]:
        """Start the thread, and return the ticket and the data."""
        return {**super().begin(), "data": pack(self._trainings[0].data)}

    # ---- what the page says ----

    def tell(self, message: Mapping[str, Any]) -> None:
        """Take in what the visitor does: hold, go on, make a step, another speed or another view.

        Raises:
            InputError: something else, or a view or option that there is not.
        """
        what = message.get("what")
        with self._change:
            if what == "hold":
                self._held = True
            elif what == "go":
                self._held = False
            elif what == "step":
                self._held, self._steps = True, min(self._steps + 1, 20)
            elif what == "speed":
                self._questions = [self._checked(one, speed=message.get("speed")) for one in self._questions]
            elif what == "look":
                self._look(message)
            else:
                raise InputError(UNKNOWN)
            self._change.notify_all()

    def _look(self, message: Mapping[str, Any]) -> None:
        side = message.get("side")
        if isinstance(side, bool) or not isinstance(side, int) or not 0 <= side < len(self._questions):
            raise InputError("The Lab has no such side; reload the page.")
        number, options = message.get("number", 0), message.get("options", {})
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(UNKNOWN)
        one = self._checked(self._questions[side], view=message.get("view"), options=options)
        self._questions[side], self._wishes[side] = one, number
        self._looks.add(side)
        if message.get("show"):
            self._to_show.add(side)

    @staticmethod
    def _checked(question: Question, **changes: Any) -> Question:
        return Question.of({**question.to_json(), **changes})

    # ---- the thread ----

    def _once(self) -> None:
        """Do the next thing: make a view that is wanted, learn on, or wait until there is something to do."""
        with self._change:
            shown = self._to_show.pop() if self._to_show else None
            learns = not all(self._finished) and (not self._held or self._steps)
            if shown is None and not learns:
                self.state = "done" if all(self._finished) else "held"
                self._change.wait(1.0)
                return
            if shown is None and self._steps:
                self._steps -= 1
            one_step = self._held
        if shown is not None:
            self._show(shown)
        else:
            self._learn(one_step)

    def _learn(self, one_step: bool) -> None:
        """Make the next frame of every side."""
        started = time.monotonic()
        for side, training in enumerate(self._trainings):
            if self._finished[side]:
                continue
            question = self._questions[side]
            if side in self._looks:
                self._looks.discard(side)
                training.look(question.view, dict(question.options))
            training.speed = 1 if one_step else question.speed
            with self._turn(self._stop):
                self.state = "learning"
                frame = next(training, None)
            if frame is None or frame.finished:
                self._finished[side] = True
            if frame is not None:
                self._push(side, 0, frame)
            self._pause(BREATH_SECONDS)
        self._pause(FRAME_SECONDS - (time.monotonic() - started))

    def _show(self, side: int) -> None:
        """Make the frames of a side's view, unless the visitor wants another meanwhile."""
        self.state = "showing"
        with self._change:
            question, wish = self._questions[side], self._wishes[side]
        moments = iter(show(self._trainings[side].trained, question, self._stop))
        while not self.is_over and side not in self._to_show:
            with self._turn(self._stop):
                frame = next(moments, None)
            if frame is None:
                break
            self._push(side, wish, frame)
            self._pause(BREATH_SECONDS)


class Rooms:
    """The rooms of all visitors.

    Args:
        runtime: whose turns the trainings take.
    """

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self._rooms: dict[str, Room] = {}
        self._lock = threading.Lock()

    async def talk(self, message: Any, client: str) -> dict[str, Any]:
        """Answer a page.

        Args:
            message: {"what": ..., ...}. "start" takes the experiment, whether it is "held", the ticket of the room that it
                replaces, and "exhibit": "gradients" where that is to be seen in place of a training; "frames" a
                ticket and the number of the last frame; "leave" a ticket; "points" the text of a CSV file; all others are for
                `Room.tell`.
            client: the address of who asks.

        Returns:
            What was asked for, or {"problem": why not}.
        """
        try:
            if not isinstance(message, Mapping):
                raise InputError(UNKNOWN)
            what = message.get("what")
            if what == "points":
                return await asyncio.to_thread(self._points, message.get("text"))
            if what == "start":
                return await asyncio.to_thread(self._start, message, client)
            room = self._rooms.get(str(message.get("ticket")))
            if what == "leave":
                if room is not None:
                    room.leave()
                return {}
            if room is None:
                return {"state": "ended", "problem": "gone", "frames": []}
            room.asked = time.monotonic()
            if what == "frames":
                return await self._frames(room, message.get("after"), message.get("state"))
            room.tell(message)
            return {}
        except GenariumError as error:
            return {"problem": str(error)}

    def _start(self, message: Mapping[str, Any], client: str) -> dict[str, Any]:
        experiment, exhibit = Experiment.of(message.get("experiment")), message.get("exhibit")
        if exhibit not in (None, "gradients"):
            raise InputError(UNKNOWN)
        with self._lock:
            if (before := self._rooms.get(str(message.get("ticket")))) is not None:
                before.leave()
            self._rooms = {ticket: room for ticket, room in self._rooms.items() if not room.is_over}
            of_client = sum(room.client == client for room in self._rooms.values())
            if len(self._rooms) >= MAX_ROOMS or of_client >= ROOMS_PER_CLIENT:
                raise InputError(
                    "Too many trainings are open. Close another page of the Lab, or try again in a minute."
                )
        room: Room
        turn = partial(self.runtime.turn, visitor=Visitor(client, "lab"))
        if exhibit:
            room = GradientRoom(client, turn, experiment.sides[0].seed)
        else:
            room = TrainingRoom(experiment, client, turn, bool(message.get("held")))
        with self._lock:
            self._rooms[room.ticket] = room
        return room.begin()

    @staticmethod
    def _points(text: Any) -> dict[str, Any]:
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise InputError(f"A CSV file of at most {MAX_TEXT // 2**20} MB is taken.")
        return {"points": pack_points(parse_points(text))}

    @staticmethod
    async def _frames(room: Room, after: Any, known: Any) -> dict[str, Any]:
        """Wait for news of a room, and return them.

        Args:
            after: number of the last frame that the page has.
            known: the state that the page knows.
        """
        if isinstance(after, bool) or not isinstance(after, int):
            raise InputError("after: takes the number of a frame.")
        until = time.monotonic() + ASKING_SECONDS
        while True:
            news = room.news(after)
            if news["frames"] or news["state"] not in (known, "waiting") or time.monotonic() > until:
                return news
            await asyncio.sleep(0.02)
