"""halt and reboot: their options, and what they leave for the next start."""

import pytest

from filer.commands import Leave, Next
from filer.running.interrupt import Interrupt
from filer.shell.session import FAILED
from tests.kit import manual
from tests.kit.house import House, Screen
from tests.kit.manual import Build

build = manual.build


class Sleeper(Interrupt):
    """Records how long it should sleep, and may be interrupted meanwhile."""

    def __init__(self, *, stopped: bool = False) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._stopped = stopped

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._stopped:
            self.request()
        self.check()


@pytest.fixture
def house(build: Build) -> House:
    return build(0)


def left(house: House, line: str) -> tuple[Screen, Leave]:
    with pytest.raises(Leave) as leave:
        house.run(line)
    return house.screen, leave.value


@pytest.mark.parametrize(
    ("line", "leaves", "seconds", "shown"),
    [
        ("halt", (Next.LOADER, True), [], ["System halting..."]),
        ("halt -f", (Next.LOADER, False), [], ["System halting..."]),
        ("halt -t 0", (Next.LOADER, True), [], ["System halting..."]),
        ("reboot", (Next.BOOT, True), [], ["System rebooting..."]),
        (
            "halt -f -t 5",
            (Next.LOADER, False),
            [300],
            ["The system goes down in 5 minutes; press Ctrl-C to cancel.", "System halting..."],
        ),
        (
            "reboot -t 2 -f",
            (Next.BOOT, False),
            [120],
            ["The system goes down in 2 minutes; press Ctrl-C to cancel.", "System rebooting..."],
        ),
        (
            "halt -d",
            (Next.LOADER, True),
            [],
            [
                "No core is written, because it would contain the authentication keys.",
                "System halting...",
            ],
        ),
    ],
)
def test_the_options_of_halt_and_reboot(
    house: House, line: str, leaves: tuple[Next, bool], seconds: list[float], shown: list[str]
) -> None:
    interrupt = house.filer.interrupt = Sleeper()
    screen, leave = left(house, line)
    assert (leave.next, leave.takeover) == leaves
    assert interrupt.slept == seconds
    assert screen.shown == shown
    assert not list(house.root.rglob("*core*"))


def test_ctrl_c_cancels_a_halt_that_waits(house: House) -> None:
    house.filer.interrupt = Sleeper(stopped=True)
    screen = house.run("halt -t 10")
    assert (screen.status, screen.failures) == (FAILED, ["halt: interrupted"])
    assert house.good("hostname") == "filer1\n"


@pytest.mark.parametrize("interval", ["-1", "1441", "x", "1.5", "9" * 40, "''", "٣"])
def test_an_interval_is_a_number_of_minutes(house: House, interval: str) -> None:
    for name in ("halt", "reboot"):
        refusal = house.bad(f"{name} -t {interval}")
        assert refusal.startswith(f"{name}: ")
        if interval != "-1":
            assert refusal == f"{name}: the interval must be a number of minutes from 0 to 1440\n"
