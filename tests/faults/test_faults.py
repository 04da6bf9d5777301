"""Every command against every fault of a key server: its output, duration and effects.

One key server misbehaves, the other works, and the disks were rekeyed and locked before. The tests
rewrite docs/FAULTS.md when they observe something else.
"""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from filer.boot.machine import Panic
from filer.disks.header import DATA_OFFSET
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.keyserver.authority import Identity
from filer.keyserver.server import KeyServer
from filer.registration.registration import Registration
from filer.shell.session import OK
from tests.kit import fault_matrix, faulty, hostile, pki
from tests.kit.fault_matrix import Outcome, Part, Row, Section, code
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.repeated import Repeated

TIMEOUTS = (1.0, 3.0, 9.0)
"""Seconds that a key server has to answer, and that a command may take for everything else.

All but the first are for a busy machine.
"""

PATIENCE = 60.0
"""The timeout in seconds outside the tried commands."""

BAD, GOOD = "127.0.0.2", "127.0.0.3"
CHANGES_KEYS = ("rekey", "boot")
"""The commands after which each disk is opened; after the others its bytes are compared."""

NO_ANSWER = "no answer in N s"
CLOSED = "it closed the connection instead of answering"
WRONG_SECRET = b"Another-secret-1"

INTRODUCTION = f"""
# Faults of a key server

What each command does when a key server misbehaves: {{faults}} cases, {{rows}} lines.

`tests/faults/test_faults.py` writes the tables, from what it sees.
A run that sees something else writes this file anew and fails: look at the difference, and either
commit it or mend the program.

**How a fault is made.**
Two key servers are registered, {BAD} and {GOOD}; each has N = {TIMEOUTS[0]:g} s to answer
(`timeout` in filer.toml).
Four disks have been rekeyed and locked, so that no boot comes up without a key server.
Then {BAD} begins to misbehave, in the one way that the table names; {GOOD} does as it should.
Connections, certificates, keys and disks are real.
The commands run in the order of their lines, on one filer; `boot` takes power away and boots.
Beforehand the keytable gets a key pair that no key server has and no disk uses: `restore -all`
removes it, but only if every key server has answered.

**What is said:** the lines about {BAD}, warnings and failures; if there are none, the last line.
`KEYID` is the key ID of the disks when the fault began, `NEWKEYID` one that was made after it.
A fault costs one line, with two exceptions.
`restore -all` adds that no key pairs were removed.
`rekey` names a key pair that it could not take back, in a line of its own.

**Time:** how many timeouts passed.
Beside them every command took less than {TIMEOUTS[0]:g} s.
(On a machine that is too busy for that the commands are run again, with a greater N for both.)
A timeout is one deadline for connecting and the TLS handshake, and one for each request with its
whole answer.
After four timeouts a conversation goes on only while the last request has brought a new key pair;
after 24 no further request is sent.
Once other servers have shown the keys of all disks, `boot` waits four timeouts more for the rest.
All key servers are talked to at the same time.
`status`, `query`, `restore` and `boot` have one conversation with each; `restore -all` has a second
one before it removes a key pair, and looks for that by name.
`rekey` has up to four: it reads what is there, stores the new key pair, reads it back, and takes it
back if that went wrong.
`add` has up to three: it tries a changed client certificate, greets the key server, and looks for
the keys of locked disks.
A key server that has failed is left alone by the rest of the command, except to take a key pair
back: so one timeout is the most that silence costs, and two in `rekey`.
A key server that answers just in time may cost nearly a timeout for each request.

**State:** what the command changed.
Compared are the registration (in memory and on the boot device), the keytable, the headers of all
disks, and the stores of both key servers.
After each `rekey` and each boot every disk was opened with a key that {GOOD} holds.
In the end {BAD} behaved again, and `status` and `query` succeeded.
"""

Expected = dict[str, Outcome]
"""The expected outcome of each command, in the order in which they run."""


# Expected outcomes


def well(keys: int = 1) -> Expected:
    """A working server that shows ``keys`` key pairs."""
    added = f"{keys - 1} added, " if keys > 1 else ""
    return {
        "status": Outcome((f"Key server {BAD} is responding.",)),
        "query": Outcome((f"Key server {BAD} reports {keys} keys.",)),
        "restore -all": read_all(keys, added),
        "rekey": Outcome(
            (
                "Completed rekey on 4 disks: 4 successes, 0 failures, including 0 unknown key and "
                "0 authentication failures.",
            ),
            "keytable: 1 added; new key on both key servers; 4 disks rekeyed",
        ),
        "boot": up(max(keys, 1)),
    }


def read_all(keys: int, added: str = "") -> Outcome:
    """A restore, which removes the key pair that no key server has."""
    return Outcome((f"Key server {BAD}: {keys} key pairs read.",), f"keytable: {added}1 removed")


def down(reason: str, timeouts: int = 0) -> Expected:
    """A server that cannot be reached."""
    line = f"Key server {BAD} is not responding: {reason}."
    in_a_sentence = f"key server {BAD} is not responding: {reason}"
    return {
        "status": Outcome((line,), timeouts=timeouts),
        "query": Outcome((line,), timeouts=timeouts),
        "restore -all": Outcome(
            (line, "key_manager: not every key server answered; no key pairs were removed"),
            "keytable kept",
            timeouts,
        ),
        "rekey": Outcome(
            (f"key_manager: {in_a_sentence}; no key pair was created",), timeouts=timeouts
        ),
        "boot": up(1, in_a_sentence, timeouts=timeouts),
    }


def up(keys: int, *warnings: str, timeouts: int = 0) -> Outcome:
    """A boot."""
    loaded = f"{keys} key{'' if keys == 1 else 's'} loaded"
    return Outcome(warnings, f"up, 4 disks unlocked, {loaded}", timeouts)


def after(rekey: Outcome, rest: Expected) -> Expected:
    """A rekey and the commands after it."""
    return {"rekey": rekey} | {name: each for name, each in rest.items() if name != "rekey"}


def not_created(
    problem: str, *left: str, state: str = "new key taken back", timeouts: int = 0
) -> Outcome:
    """A rekey whose key pair is not created, but is ``left`` on some servers."""
    return Outcome(
        (
            *(f"key_manager: key ID NEWKEYID may remain on key server {each}" for each in left),
            f"key_manager: the new key pair {problem}; nothing was changed",
        ),
        state,
        timeouts,
    )


# A filer and two key servers


class Scene:
    """A filer with locked disks, a key server that will misbehave, and one that works."""

    def __init__(
        self, house: House, bad: FaultyKeyServer, good: FaultyKeyServer, timeout: float
    ) -> None:
        self.house, self.bad, self.good = house, bad, good
        self._timeout = timeout
        self.key_id = house.key_ids[0]
        """The key ID of the disks when the fault begins."""
        house.filer.keytable.add([faulty.entry_of(self.new_pair())])

    def new_pair(self, key_id: str | None = None) -> KeyPair:
        """Make a key pair that is stored nowhere."""
        identity, random = self.house.filer.identity, self.house.filer.random
        pair = identity.new_pair(self.house.filer.key_tag, AuthenticationKey(WRONG_SECRET), random)
        return pair._replace(key_id=key_id or pair.key_id)

    def meet(self, command: str) -> Outcome:
        """Run ``command`` against the fault, and check that it loses no key."""
        before = Look.at(self)
        self.good.heard.clear()
        self.house.wait_at_most(self._timeout)
        begun = time.monotonic()
        said = self._boot() if command == "boot" else self._run(f"key_manager {command}")
        timeouts = int((time.monotonic() - begun) / self._timeout)
        state = self._state(command, before, Look.at(self))
        self.house.wait_at_most(PATIENCE)
        if command in CHANGES_KEYS:
            faulty.check_that_no_key_is_lost_by(self.house, [self.good])
        named = [self._named(line) for line in said]
        return Outcome(tuple(named), state, timeouts)

    def _boot(self) -> list[str]:
        told = Told()
        try:
            self.house.boot(told)
        except Panic as panic:
            return [*told.warnings, str(panic)]
        return told.warnings

    def _run(self, line: str) -> list[str]:
        result = self.house.run(line)
        about = [each for each in result.shown if each.startswith(f"Key server {BAD}")]
        told = [*about, *result.warnings, *result.failures]
        assert bool(result.failures) == (result.status != OK)
        return told or result.shown[-1:]

    def _named(self, line: str) -> str:
        named = line.replace(self.key_id, "KEYID").replace(f" {self._timeout:g} s", " N s")
        return re.sub(r"\b[0-9A-F]{64}\b", "NEWKEYID", named)

    def _state(self, command: str, before: "Look", now: "Look") -> str:
        """Describe what ``command`` has changed."""
        if command == "boot":
            # The disk counts each attempt before it is made, and resets the count afterwards.
            before = replace(before, headers=now.headers)
        changes = [*before.changes_outside_memory(now)]
        if command == "boot":
            house = self.house
            if not house.filer.wafl_is_up:
                return "panic"
            unlocked = sum(disk.locking and not disk.locked for disk in house.disks)
            keys = len(house.filer.keytable)
            loaded = f"{keys} key{'' if keys == 1 else 's'} loaded"
            return "; ".join([f"up, {unlocked} disks unlocked, {loaded}", *changes])
        if "REGISTER" in self.good.heard and now.stored[GOOD] == before.stored[GOOD]:
            changes.insert(0, "new key taken back")
        keytable = before.changes_of_keytable(now)
        if keytable:
            changes.insert(0, f"keytable: {keytable}")
        nothing = "keytable kept" if command.startswith("restore") else "unchanged"
        return "; ".join(changes) or nothing


@dataclass(frozen=True)
class Look:
    """Everything that a command may change."""

    registration: Registration
    registered: Registration
    keytable: Mapping[str, tuple[AuthenticationKey, ...]]
    key_ids: Sequence[str]
    headers: Sequence[bytes]
    stored: Mapping[str, Sequence[str]]

    @classmethod
    def at(cls, scene: Scene) -> Self:
        house = scene.house
        return cls(
            house.filer.registration,
            house.registered,
            {entry.key_id: entry.candidates for entry in house.filer.keytable},
            house.key_ids,
            [disk.path.read_bytes()[:DATA_OFFSET] for disk in house.disks],
            {server.address: faulty.stored_key_ids(server) for server in (scene.bad, scene.good)},
        )

    def changes_of_keytable(self, now: "Look") -> str:
        """Describe how many key pairs were added and removed."""
        before, after = self.keytable, now.keytable
        counts = {
            "added": len(after.keys() - before.keys()),
            "removed": len(before.keys() - after.keys()),
            "with two secrets": sum(
                before.get(key_id, each) != each for key_id, each in after.items()
            ),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def changes_outside_memory(self, now: "Look") -> Iterator[str]:
        """Yield the changes of the boot device, the key servers and the disks."""
        if (self.registration, self.registered) != (now.registration, now.registered):
            yield "registration changed"
        came = {
            address: sorted((Counter(after) - Counter(self.stored[address])).elements())
            for address, after in now.stored.items()
        }
        if came[BAD] and came[BAD] == came[GOOD]:
            yield "new key on both key servers"
        else:
            yield from (f"new key left on {address}" for address, names in came.items() if names)
        for address, names in self.stored.items():
            if Counter(names) - Counter(now.stored[address]):
                yield f"key gone from {address}"
        rekeyed = sum(old != new for old, new in zip(self.key_ids, now.key_ids, strict=True))
        if rekeyed:
            yield f"{rekeyed} disks rekeyed"
        elif self.headers != now.headers:
            yield "disks changed"


# Faults

Begin = Callable[[Scene], AbstractContextManager[object]]


@dataclass(frozen=True)
class Fault:
    """A way to misbehave, started by a context manager, and the expected outcomes."""

    begin: Begin
    expected: Expected


def hostile_kind(kind: str) -> Fault:
    """Return the fault of a kind of ``tests.kit.hostile``."""
    reason, timeouts = hostile.KINDS[kind].reason, 0
    if reason == hostile.NO_ANSWER:
        reason, timeouts = NO_ANSWER, 1
    return Fault(
        lambda scene: standing_in(scene, partial(hostile.start, kind)), down(reason, timeouts)
    )


@contextmanager
def standing_in(scene: Scene, start: Callable[[KeyServer, int], hostile.Server]) -> Iterator[None]:
    """Replace the bad server by a hostile one, which alone can reach the original."""
    bad = scene.bad
    bad.stop()
    behind = FaultyKeyServer(bad.directory, bad.address)
    with start(behind, bad.port), behind:
        yield


def meddling_with(operation: int, meddle: hostile.Meddle) -> Begin:
    """Change the answers to one operation."""
    return lambda scene: standing_in(
        scene,
        lambda behind, port: hostile.proxy(behind, hostile.only_for(operation, meddle), port=port),
    )


def not_listing(scene: Scene) -> AbstractContextManager[None]:
    """Answer a search by name as ever, and show nothing in a list of all."""
    limits = hostile.CutShort(0)

    def meddle(answer: hostile.Answer, request: bytes) -> hostile.Answer:
        lists = b"Name" not in request
        return limits.meddle(answer, request) if lists else answer

    return standing_in(
        scene,
        lambda behind, port: hostile.proxy(
            behind, hostile.only_for(hostile.LOCATE, meddle), ask=limits.ask, port=port
        ),
    )


def doing(action: Callable[[Scene], None]) -> Begin:
    """Return a fault that ``action`` starts and nothing ends."""

    @contextmanager
    def begin(scene: Scene) -> Iterator[None]:
        action(scene)
        yield

    return begin


def on(operation: str, fault: faulty.Fault, *, times: int | None = None) -> Begin:
    """Misbehave when ``operation`` is requested."""
    return doing(lambda scene: scene.bad.on(operation, fault, times=times))


def another_client(scene: Scene, issuer: Identity) -> None:
    """Install a client certificate of another owner, to whom the good server shows the key."""
    house, good = scene.house, scene.good
    house.install_client(pki.client(issuer, "another owner"))
    pki.accept_clients_of(good, pki.authority_of(good), issuer)
    installed = house.filer.root.installed_certificates
    servers = house.filer.key_servers_at([GOOD], good.port, lambda name: installed / name)
    pair = KeyPair(scene.key_id, house.filer.key_tag, house.secret(scene.key_id))
    assert not servers.store(pair, house.filer.identity.parent_tag).failures


def hides_from_another_client(scene: Scene) -> None:
    another_client(scene, pki.authority_of(scene.bad))


def rejects_another_client(scene: Scene) -> None:
    another_client(scene, pki.authority())


def silent_to_another_client(scene: Scene) -> None:
    another_client(scene, pki.authority_of(scene.bad))
    scene.bad.on("*", faulty.silent, times=1)


def holds_two_secrets(scene: Scene) -> None:
    filer = scene.house.filer
    lie = scene.new_pair(scene.key_id)
    assert not filer.key_servers([BAD]).store(lie, filer.identity.parent_tag).failures


def contradicting(*warnings: str, unlocked: int = 4) -> Expected:
    """Return the outcomes with two secrets under the key ID in use."""
    problem = f"key servers {BAD}, {GOOD} hold different keys for key ID KEYID"
    wrong = f"key server {BAD} holds another key for key ID KEYID than the one that opens its disks"
    (read,) = well()["restore -all"].said
    boot = Outcome((*warnings, wrong), f"up, {unlocked} disks unlocked, 1 key loaded")
    return {
        **well(),
        "restore -all": Outcome(
            (read, f"WARNING: {problem}."), "keytable: 1 removed, 1 with two secrets"
        ),
        "rekey": Outcome((f"key_manager: {problem}; no key pair was created",)),
        "boot": boot,
    }


def add_refused(problem: str, rest: Expected, timeouts: int = 0) -> Expected:
    """Return the outcomes of add and later commands with a changed client certificate."""
    line = f"key_manager: {problem}; the registered one stays"
    return {ADD: Outcome((line,), timeouts=timeouts), **rest}


NOT_ALL = f"Key server {BAD} has not shown all key pairs: it listed 0 of 1 objects"
NOT_READABLE = f"key server {BAD}: cannot read key ID KEYID: it holds no usable key pair"
ADD = f"add -key_server {BAD}"
NOT_STORED = f"could not be stored on {BAD}"
NOT_READ = f"could not be read back from {BAD}"
LEFT = f"new key left on {BAD}"

MAY_APPEAR = "it is not found now, and may appear later"
NOT_THE_SAME = f"read back from {BAD} is not what was stored"


def not_stored(
    begin: Begin, problem: str, rest: Expected, *, left: str = "", timeouts: int = 0
) -> Fault:
    """Return a fault of a rekey; ``left`` is why the bad server keeps the new key pair."""
    remains = [f"{BAD}: {left}"] if left else []
    state = f"new key taken back; {LEFT}" if left else "new key taken back"
    rekey = not_created(problem, *remains, state=state, timeouts=timeouts)
    return Fault(begin, after(rekey, rest))


def not_destroyed(fault: faulty.Fault, left: str, rest: Expected, *, timeouts: int = 0) -> Fault:
    """Return a fault in Destroy, after the server has stored another secret."""
    begin = on("ACTIVATE", faulty.then(faulty.keeps_another_secret, "DESTROY", fault))
    return not_stored(begin, NOT_THE_SAME, rest, left=left, timeouts=timeouts)


FAMILIES: Mapping[tuple[str, str], Mapping[str, Fault]] = {
    ("For comparison", "No fault."): {
        "does as it should": Fault(doing(lambda _: None), well() | {"boot": up(2)}),
    },
    ("The connection", "What happens before a word of TLS is heard."): {
        kind: hostile_kind(kind)
        for kind in (
            "refuses connections",
            "never accepts",
            "backlog is full",
            "never speaks",
            "closes at once",
            "resets the connection",
            "speaks plain text",
        )
    },
    ("TLS", "A handshake that does not end well, or is the last that is heard."): {
        kind: hostile_kind(kind)
        for kind in (
            "shakes hands a byte at a time",
            "has no TLS version in common",
            "has no cipher in common",
            "fails in the handshake",
            "is silent after the handshake",
            "closes after the handshake",
            "closes after the handshake of TLS 1.2",
            "breaks TLS after the request",
        )
    },
    ("Certificates", "The key server is not to be trusted, or does not trust the filer."): {
        kind: hostile_kind(kind)
        for kind in (
            "is of another authority",
            "is another address",
            "is not yet valid",
            "has expired",
            "refuses the client in TLS 1.2",
            "refuses the client in TLS 1.3",
            "refuses the client without saying why",
            "refuses the client for who it is",
        )
    },
    (
        "Answers",
        "The request is heard, and what comes back is not its answer. "
        "A byte at a time means ten bytes a second: each read is quick, and the whole never ends.",
    ): {
        kind: hostile_kind(kind)
        for kind in (
            "closes after the request",
            "answers random bytes",
            "answers 64 MiB of zeros",
            "announces 4 GiB",
            "announces more than 4 MiB",
            "announces 4 MiB and closes",
            "announces nothing",
            "announces what is not TTLV",
            "closes in the middle of an answer",
            "stops in the middle of an answer",
            "answers a byte at a time",
            "answers another request",
            "answers with the request",
            "answers with fewer items",
            "answers with fewer items than it counts",
            "answers an item twice",
            "answers an item twice, and one not",
            "answers for another operation",
            "answers for no operation",
            "answers for another item",
            "answers without a payload",
            "answers a torn payload",
            "answers more than it announces",
        )
    },
    (
        "A new key pair",
        "The key server behaves until `rekey` stores a key pair. "
        "No disk is touched; the other commands show what is left.",
    ): {
        "refuses to store the key": not_stored(
            on("REGISTER", faulty.refuses), f"{NOT_STORED}: permission denied", well()
        ),
        "refuses to activate the key": Fault(
            on("ACTIVATE", faulty.refuses),
            after(well()["rekey"], well(2) | {"restore -all": read_all(2)}),
        ),
        "stores the key, and does not confirm it": not_stored(
            on("REGISTER", faulty.silent_after, times=1),
            f"{NOT_STORED}: {NO_ANSWER}",
            well(),
            timeouts=1,
        ),
        "stores the key, and is silent from then on": not_stored(
            on("REGISTER", faulty.then(faulty.silent_after, "*", faulty.silent)),
            f"{NOT_STORED}: {NO_ANSWER}",
            down(NO_ANSWER, 1),
            left=NO_ANSWER,
            timeouts=2,
        ),
        "stores the key, and dies before it confirms it": not_stored(
            on("REGISTER", faulty.dies_after),
            f"{NOT_STORED}: {CLOSED}",
            down("connection refused"),
            left="connection refused",
        ),
        "confirms the key, and does not store it": Fault(
            on("ACTIVATE", faulty.forgets),
            after(not_created(NOT_THE_SAME, f"{BAD}: {MAY_APPEAR}"), well()),
        ),
        "confirms the key, and stores another secret": not_stored(
            on("ACTIVATE", faulty.keeps_another_secret), NOT_THE_SAME, well()
        ),
        "confirms the key, and hides it": not_stored(
            on("ACTIVATE", faulty.hides_it), NOT_THE_SAME, well(), left="permission denied"
        ),
        "confirms the key, and dies before it is read back": not_stored(
            on("ACTIVATE", faulty.then(faulty.obeys, "*", faulty.dies)),
            f"{NOT_READ}: connection refused",
            down("connection refused"),
            left="connection refused",
        ),
        "confirms the key, and is silent when it is read back": not_stored(
            on("ACTIVATE", faulty.then(faulty.obeys, "*", faulty.silent, times=2)),
            f"{NOT_READ}: {NO_ANSWER}",
            well(2),
            left=NO_ANSWER,
            timeouts=2,
        ),
        "answers Register with fewer items": not_stored(
            meddling_with(hostile.REGISTER, hostile.fewer_items),
            f"{NOT_STORED}: not a KMIP server",
            well(),
        ),
        "answers Register with an item twice": not_stored(
            meddling_with(hostile.REGISTER, hostile.item_twice),
            f"{NOT_STORED}: not a KMIP server",
            well(),
        ),
        "answers Register for another item": not_stored(
            meddling_with(hostile.REGISTER, hostile.another_number),
            f"{NOT_STORED}: not a KMIP server",
            well(),
        ),
        "stops in the middle of the answer to Register": not_stored(
            meddling_with(hostile.REGISTER, hostile.truncated),
            f"{NOT_STORED}: {NO_ANSWER}",
            well(),
            timeouts=1,
        ),
    },
    (
        "Taking a key pair back",
        "The key server stores the key pair with another secret, and then fails again.",
    ): {
        "refuses to destroy the key": not_destroyed(faulty.refuses, "permission denied", well(2)),
        "only says that it destroyed the key": not_destroyed(
            faulty.keeps_a_copy, "it is still there", well(2)
        ),
        "dies when it is to destroy the key": not_destroyed(
            faulty.dies, "connection refused", down("connection refused")
        ),
        "is silent when it is to destroy the key": not_destroyed(
            faulty.silent, NO_ANSWER, well(2), timeouts=1
        ),
    },
    (
        "The keys that it holds",
        "Every exchange is as it should be, and what it brings is not. "
        "Of two secrets, a boot tries first the one that more key servers hold; on a tie, that of "
        f"the key server that was registered first ({BAD}); last, those of a key server that holds "
        "several. A disk tries one and stays locked if it is wrong; the others learn from that. "
        "The wrong key server is named.",
    ): {
        "holds another secret under the key ID": Fault(
            doing(lambda scene: faulty.replace_secret(scene.bad, scene.key_id, WRONG_SECRET)),
            contradicting(
                "0c.00.3 stay locked: the key that was tried for key ID KEYID does not open them",
                unlocked=3,
            ),
        ),
        "holds two secrets under the key ID": Fault(doing(holds_two_secrets), contradicting()),
        "has lost the key": Fault(
            doing(lambda scene: faulty.lose(scene.bad, scene.key_id)),
            {
                **well(0),
                "restore -all": Outcome(
                    (f"Key server {BAD}: 0 key pairs read.",), "keytable: 1 removed"
                ),
                "boot": up(2),
            },
        ),
    },
    (
        "What it does not show",
        "The key server has the key and shows only its name, or only when it is asked for by name. "
        "The keys that disks name are located by name, before all others.",
    ): {
        "leaves the key out of its list": Fault(
            not_listing,
            {
                **well(),
                "query": Outcome((f"Key server {BAD} reports 1 keys.", f"{NOT_ALL}.")),
                "restore -all": Outcome(
                    (
                        f"Key server {BAD}: 1 key pairs read.",
                        f"{NOT_ALL}.",
                        "key_manager: not every key server showed all key pairs; no key pairs were "
                        "removed",
                    ),
                    "keytable kept",
                ),
                "rekey": Outcome((f"key_manager: k{NOT_ALL[1:]}; no key pair was created",)),
                "boot": up(1, f"k{NOT_ALL[1:]}"),
            },
        ),
        "gives out keys in another form": Fault(
            meddling_with(
                hostile.GET, lambda answer, _: answer.replace(0x420057, b"\0\0\0\2", hostile.GET)
            ),
            {
                **well(),
                "query": Outcome((f"Key server {BAD} reports 0 keys.", f"WARNING: {NOT_READABLE}")),
                "restore -all": Outcome(
                    (f"Key server {BAD}: 0 key pairs read.", f"WARNING: {NOT_READABLE}"),
                    "keytable: 1 removed",
                ),
                "rekey": not_created(f"{NOT_READ}: it holds no usable key pair"),
                "boot": up(1, NOT_READABLE),
            },
        ),
    },
    (
        "The key server is added again",
        "Where the client certificate was changed, it belongs to another owner, to whom "
        f"{GOOD} shows the key.",
    ): {
        "never speaks to `add`": Fault(
            on("*", faulty.silent),
            {
                ADD: Outcome(
                    (f"WARNING: Key server {BAD} is not responding: {NO_ANSWER}.",), timeouts=1
                ),
            },
        ),
        "hides the keys from a changed client certificate": Fault(
            doing(hides_from_another_client),
            add_refused(
                f"key server {BAD} does not show key ID KEYID, which is in use, to the changed "
                "client certificate",
                well() | {"boot": up(2)},
            ),
        ),
        "rejects a changed client certificate": Fault(
            doing(rejects_another_client),
            add_refused(
                f"the changed client certificate cannot be tried on key server {BAD}: client "
                "certificate rejected",
                well() | {"boot": up(2)},
            ),
        ),
        "never speaks to a changed client certificate": Fault(
            doing(silent_to_another_client),
            add_refused(
                f"the changed client certificate cannot be tried on key server {BAD}: {NO_ANSWER}",
                well() | {"boot": up(2)},
                1,
            ),
        ),
    },
}

FAULTS = {name: fault for faults in FAMILIES.values() for name, fault in faults.items()}
PART = Part(
    INTRODUCTION,
    ("Key server 127.0.0.2", "Command", "What is said", "Time", "State"),
    [Section(title, text, [*faults]) for (title, text), faults in FAMILIES.items()],
)


# The tests


@pytest.fixture(scope="module")
def template(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a filer whose disks are locked, and its key servers."""
    directory = tmp_path_factory.mktemp("template")
    with (
        faulty.running(authority, directory / "key servers") as servers,
        House.build(directory / "root", servers) as house,
    ):
        house.add(*servers)
        house.rekey()
        house.lock()
    return directory


@contextmanager
def scene(template: Path, directory: Path, timeout: float) -> Iterator[Scene]:
    """A booted filer and its key servers."""
    directory.mkdir()
    root = shutil.copytree(template / "root", directory / "root", symlinks=True)
    with (
        faulty.running(template / "key servers", directory / "key servers") as servers,
        House(root, random=Repeated("scene")) as house,  # no key of the template, but known ones
    ):
        house.set(port=servers[0].port, timeout=PATIENCE)
        house.boot()
        house.set(port=servers[0].port, timeout=timeout)
        bad, good = servers
        yield Scene(house, bad, good, timeout)


def meet(fault: Fault, template: Path, directory: Path, timeout: float) -> Mapping[str, Outcome]:
    """Run all commands of a fault; afterwards the key server works again."""
    with scene(template, directory, timeout) as staged:
        with fault.begin(staged):
            met = {command: staged.meet(command) for command in fault.expected}
        staged.bad.recover()
        staged.house.must("key_manager status")
        staged.house.must("key_manager query")
    return met


def row(met: tuple[str, Outcome]) -> Row:
    command, outcome = met
    return f"`{command}`", code(outcome.said), outcome.time, outcome.state


def is_busy() -> bool:
    return os.getloadavg()[0] > (os.cpu_count() or 1)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_a_line_and_a_timeout_and_leaves_nothing_half_done(
    name: str, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    for timeout in TIMEOUTS:
        met = meet(fault, template, tmp_path / f"{timeout:g}", timeout)
        if met == fault.expected or not is_busy():
            break
    assert met == fault.expected
    as_committed = PART.record(name, map(row, met.items()))
    assert as_committed, "docs/FAULTS.md was wrong, and is right now: look at it, and commit it"
    with capsys.disabled():
        print(f" [{name}: {len(met)} commands]", end="")


def test_the_file_has_every_fault_and_no_other() -> None:
    text = PART.find(fault_matrix.FILE.read_text(encoding="utf-8"))
    assert [*fault_matrix.blocks(text)] == [*FAULTS]
    assert text == PART.render(fault_matrix.blocks(text))


def test_no_kind_of_hostile_server_is_left_out() -> None:
    assert FAULTS.keys() >= hostile.KINDS.keys()
