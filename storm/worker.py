"""The process in which filers run: each is a user of Locust."""

import os
import resource
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust import User, constant, task
from locust.exception import StopUser
from locust.runners import Runner

from filer.host.errors import FilerError
from filer.keys.pair import KeyPair
from filer.kmip.options import objection_to
from filer.running.interrupt import Interrupt, Interrupted
from filer.storm import ledgers
from filer.storm.catalogue import load, name_of
from filer.storm.fleet import Fleet
from filer.storm.measuring import MeasuredClient
from filer.storm.plan import Plan, Post
from filer.storm.scenario import Failed, Filer, Scenario
from filer.throw_away.pairs import Mint

_TICK = 0.05
"""Seconds between two measurements of the lag."""


class Worker:
    """Runs the filers of one process, and tells the master about them.

    Messages to the master: ``listening``, which it answers with the plan; ``spawned``, the number
    of users; ``armed``; ``filer``, the result of one; ``finished``; ``refused``.  Messages from
    it: ``plan``; ``numbers``, which filers run here; ``power``, begin; ``finish``.
    """

    def __init__(self, environment: Any, post: Post) -> None:
        environment.worker = self
        self.refusal: str | None = None
        self._environment = environment
        self._post = post
        self._kind = load(post.scenario)
        self._interrupt = Interrupt()
        self._prepared: deque[Scenario] = deque()
        self._armed = Event()
        self._power = Event()
        self._begun = 0.0
        self._cpu = 0.0
        self._lag = 0.0
        self._due = 0.0
        self._over = False

    def listen(self, runner: Runner) -> None:
        """Listen to the master through ``runner``."""
        self._runner = runner
        runner.register_message("plan", self._take_plan)
        runner.register_message("numbers", self._take_numbers)
        runner.register_message("power", self._take_power)
        runner.register_message("finish", self._take_finish)
        events = self._environment.events
        events.spawning_complete.add_listener(self._tell_spawned)
        events.test_stopping.add_listener(self._release)
        runner.send_message("listening", {})  # it was connected before: a plan would have been lost

    # Messages

    def _take_plan(self, msg: Any, **_: Any) -> None:
        self._plan = plan = Plan.of(msg.data)
        if plan.scenario != name_of(self._post.scenario):
            self._refuse(f"the master has the scenario {plan.scenario}; start with the same one")
        elif reason := objection_to(plan.addresses, agreed=self._post.agreed):
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        self._runner.send_message("refused", {"reason": reason})

    def _tell_spawned(self, **_: Any) -> None:
        self._runner.send_message("spawned", {"users": self._runner.user_count, "pid": os.getpid()})

    def _take_numbers(self, msg: Any, **_: Any) -> None:
        first, count = msg.data["first"], msg.data["count"]
        if self.refusal is None:
            gevent.spawn(self._prepare, range(first, first + count))

    def _take_power(self, **_: Any) -> None:
        self._begun, self._cpu = time.monotonic(), _cpu_seconds()
        self._due = self._begun + _TICK
        gevent.spawn(self._measure_lag)
        self._power.set()

    def _take_finish(self, **_: Any) -> None:
        gevent.spawn(self._finish)

    # Filers

    def _prepare(self, numbers: range) -> None:
        try:
            self._fleet = Fleet(
                Path(self._post.certs), Path(self._post.scratch), tagged=self._plan.tagged
            )
            path = Path(self._post.ledger)
            if path.exists():
                self._ledger, _ = ledgers.opened(path)
            else:  # on a machine without the master
                self._ledger = ledgers.begin(self._plan, self._post)
            self._mint = Mint(os.urandom)
            for number in numbers:
                scenario = self._kind(self._filer(number))
                scenario.prepare()
                self._prepared.append(scenario)
        except Exception as error:
            shown = str(error) if isinstance(error, FilerError) else type(error).__name__
            self._refuse(f"the filers cannot be prepared: {shown}")
        else:
            self._runner.send_message("armed", {})
        self._armed.set()

    def _filer(self, number: int) -> Filer:
        plan, owner = self._plan, self._fleet.owner(number)

        def new_pair() -> KeyPair:
            pair = self._mint.pair()
            for address in plan.addresses:
                self._ledger.add(address, owner, [pair])
            return pair

        clients = {
            address: MeasuredClient(
                address,
                plan.port,
                self._fleet.credentials(owner, address),
                plan.timeout,
                key_tag=self._fleet.tag(number) if plan.tagged else None,
                report=self._report,
            )
            for address in plan.addresses
        }
        return Filer(number, plan, clients, self._interrupt, new_pair)

    def _report(self, operation: str, address: str, seconds: float, reason: str | None) -> None:
        self._environment.events.request.fire(
            request_type="KMIP",
            name=f"{operation} {address}",
            response_time=seconds * 1000,
            response_length=0,
            exception=reason,
            context={},
        )

    def next_scenario(self) -> Scenario | None:
        """Wait for the power, and return the scenario of a filer that has none yet, or None."""
        self._armed.wait()
        scenario = self._prepared.popleft() if self._prepared else None
        self._power.wait()
        return None if self._over else scenario

    def run(self, scenario: Scenario) -> None:
        """Run the scenario of a filer, and tell the master how it went."""
        problem = None
        try:
            scenario.run()
        except Failed as error:
            problem = str(error)
        except Interrupted:
            return
        except Exception as error:  # its text may have a key in it
            problem = f"the scenario has a defect ({type(error).__name__})"
        if not self._over:
            number, seconds = scenario.filer.number, time.monotonic() - self._begun
            result = {"number": number, "seconds": seconds, "problem": problem}
            self._runner.send_message("filer", result)

    # The end

    def _finish(self) -> None:
        if self._begun:
            self._note_lag()
        self.finish()
        cpu = _cpu_seconds() - self._cpu
        self._runner.send_message("finished", {"lag_s": self._lag, "cpu_s": cpu})

    def finish(self) -> None:
        """Stop all filers, and wait until they have taken back what they have stored."""
        self._runner.stop()

    def _release(self, **_: Any) -> None:
        """Let the filers end, whether they run or still wait."""
        self._over = True
        self._interrupt.request(for_good=True)
        self._armed.set()
        self._power.set()

    def _measure_lag(self) -> None:
        while not self._over:
            gevent.sleep(max(0, self._due - time.monotonic()))
            self._note_lag()

    def _note_lag(self) -> None:
        now = time.monotonic()
        self._lag = max(self._lag, now - self._due)
        self._due = now + _TICK


class Storming(User):
    """A user of Locust that is one filer."""

    wait_time = constant(0)
    scenario: Scenario | None = None

    @task
    def storm(self) -> None:
        """Go through the scenario, once."""
        worker: Worker = self.environment.worker
        self.scenario = worker.next_scenario()
        if self.scenario is not None:
            worker.run(self.scenario)
        raise StopUser

    def on_stop(self) -> None:
        """Take back what the filer has stored; what is left is destroyed by the clean-up."""
        if self.scenario is not None:
            with suppress(Exception):
                self.scenario.stop()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
