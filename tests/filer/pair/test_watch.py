"""What the failover monitor does by itself, and when: with a clock that the test moves."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from filer.boot.takeover import TakeoverFailed, give_back, prepare, stand_down
from filer.boot.watch import Watch
from filer.host.durable import Storage
from filer.pair.mailbox import State
from tests.kit import faulty
from tests.kit.house import House
from tests.kit.pair_site import FullShelf, Site, pair_of, taken, until


@pytest.fixture(scope="module")
def site(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Site(directory, servers)


class Monitor:
    """A filer that watches its partner, which has gone down; ``now`` is in seconds."""

    def __init__(
        self,
        site: Site,
        stack: ExitStack,
        state: State,
        *lines: str,
        storage: Storage | None = None,
    ) -> None:
        self.pair = site.begin()
        self.first, self.second = (
            stack.enter_context(House(self.pair / name, site.servers, storage, random=os.urandom))
            for name in ("filer1", "filer2")
        )
        self.first.boot()
        self.second.boot()
        for line in lines:
            self.first.must(line)
        self.second.power_off()
        stand_down(self.second.filer, state)
        self.now = 1000.0
        self.told: list[str] = []
        self._watch = Watch(
            self.first.filer, pair_of(self.first), self.told.append, clock=lambda: self.now
        )

    def after(self, seconds: float) -> bool:
        """Let that time pass; return whether the partner is taken over then."""
        self.now += seconds
        self._watch.tick()
        return self.first.filer.partner is not None


@pytest.mark.parametrize("state", [State.HALTED, State.REBOOTING])
def test_a_partner_that_reboots_is_taken_over_after_180_s_if_on_reboot_is_off(
    site: Site, state: State
) -> None:
    with ExitStack() as stack:
        monitor = Monitor(site, stack, state, "options cf.takeover.on_reboot off")
        assert not monitor.after(0)
        assert not monitor.after(179)
        assert monitor.after(1)


def test_a_partner_that_panics_is_never_taken_over_if_on_panic_is_off(site: Site) -> None:
    with ExitStack() as stack:
        monitor = Monitor(site, stack, State.PANICKED, "options cf.takeover.on_panic off")
        assert not monitor.after(0)
        assert not monitor.after(3600)


def test_a_giveback_by_itself_that_failed_is_tried_again_after_600_s(site: Site) -> None:
    with ExitStack() as stack:
        monitor = Monitor(site, stack, State.PANICKED)
        assert monitor.after(0)
        pair_of(monitor.second).waits()
        until(lambda: pair_of(monitor.first).interconnect.partner_waits)
        power = monitor.first.root / "power"
        power.rename(power.with_name("elsewhere"))
        assert monitor.after(1)
        assert "giveback failed: " in monitor.told[-1]
        power.with_name("elsewhere").rename(power)
        told = len(monitor.told)
        assert monitor.after(599)
        assert len(monitor.told) == told
        assert not monitor.after(1)
        assert "giveback completed" in monitor.told[-1]


def test_a_full_shelf_stops_no_takeover_and_no_giveback(site: Site) -> None:
    with ExitStack() as stack:
        shelf = FullShelf()
        shelf.is_full = False
        monitor = Monitor(site, stack, State.PANICKED, storage=shelf)
        shelf.is_full = True
        first, second = pair_of(monitor.first), pair_of(monitor.second)
        assert monitor.after(0)
        assert FullShelf.REFUSAL in monitor.first.good("rdfile /etc/messages")
        second.waits()
        assert second.problem == FullShelf.REFUSAL
        until(lambda: first.interconnect.partner_waits)
        assert not monitor.after(1)
        monitor.second.boot()
        shelf.is_full = False
        monitor.after(1)
        message = first.mailbox.read()
        assert message
        assert message.state is State.UP
        assert first.problem == ""


def test_a_survivor_keeps_the_keys_of_its_partner_in_reach(site: Site) -> None:
    pair = site.begin()
    with House(pair / "filer2", site.servers, random=os.urandom) as second:
        second.boot()
        (key_id,) = {disk.key_id for disk in second.filer.ownership().own(second.filer.shelf)}
    with House(pair / "filer1", site.servers, random=os.urandom) as first:
        first.boot()
        first.must("disk encrypt rekey 0x0 *")
        line = "key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3"
        taken(first)
        asked = first.execute(line, "no")
        assert f"key ID {key_id} of 4 locked disks would be on no registered" in asked.err
        give_back(first.filer, pair_of(first))
        first.good(line)


def test_a_partner_without_disks_is_not_asked_to_go_down(site: Site) -> None:
    """Its system ID has changed, and its disks have not got the new one yet."""
    pair = site.begin()
    for name in ("filer1", "filer2"):
        settings = pair / name / "filer.toml"
        settings.write_text(settings.read_text().replace("1573922311", "1573922555"))
    with House(pair / "filer1", site.servers, random=os.urandom) as first:
        first.boot()
        with pytest.raises(TakeoverFailed, match="no disk belongs to filer2, system 1573922555"):
            prepare(first.filer, pair_of(first))


def test_a_new_key_of_the_partners_disks_has_to_be_on_its_own_key_servers(site: Site) -> None:
    with ExitStack() as stack:
        monitor = Monitor(site, stack, State.HALTED)
        first, second = monitor.first, monitor.second
        own, partners = first.key_id("0c.00.1"), first.key_id("0c.00.0")
        first.must("key_manager restore -all")
        taken(first)
        asked = first.run(f"partner disk encrypt rekey {own} *")
        assert asked.warnings == [
            f"WARNING: {second.filer.hardware.hostname} needs key ID {own} on its own key servers "
            "to boot."
        ]
        assert first.run(f"partner disk encrypt rekey {own} *").warnings == []
        assert len(first.run(f"partner disk encrypt rekey {partners} *").warnings) == 1
        assert first.run("partner disk encrypt rekey 0x0 *").warnings == []
        stand_down(first.filer, State.NOTAKEOVER)
