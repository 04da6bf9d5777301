"""Arbitrary bytes from every source: a clear error, no traceback, no change, nothing unescaped.

Text from every source goes the whole way: typed lines and answers through a session, files of the
root through power-on and boot, certificates through ``keymgr``, answers of a key server through
TLS. The output has one column per character: no control sequences, no direction marks.
"""

import hashlib
import os
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.commands import Leave
from filer.config import DEFAULT_TEXT, parse
from filer.disks.disk import BLOCK_SIZE
from filer.disks.header import DATA_OFFSET, SLOT_SIZE
from filer.disks.label import Label
from filer.host.errors import FilerError
from filer.host.toml_file import ConfigError
from filer.keyserver.server import KeyServer
from filer.kmip.ttlv import Element, elements
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.script import ScriptConsole
from filer.shell.line.words import quote
from filer.shell.plugins import Commands
from filer.shell.prompt.history import PrivateFileHistory
from filer.shell.session import Session
from filer.shell.signals import Signals
from filer.trial import begin
from tests.kit import faulty, hostile, pki
from tests.kit.answers import EVIL, Recorded, damaged, meddled, recorded_from
from tests.kit.console import SMALL_SHELF, Account, editing
from tests.kit.house import House, Told
from tests.kit.plugins import install as install_plugin
from tests.kit.points import examples, paired

COMMANDS = Commands(pytest.fail)
EVIL_NAME = "\x1b[31m\x9b\u202e\u2066\x07"
"""Text that is valid in a file name, an argument and a certificate."""

TEXTS = (
    st.text(st.sampled_from("ab;'\"\\# =-[]*?é\t" + EVIL), max_size=24)
    | st.text(max_size=24)
    | st.binary(max_size=24).map(os.fsdecode)
)
BYTES = st.binary(max_size=64) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))


def is_safe(text: str) -> bool:
    """Return whether a terminal shows ``text`` as it is: printable characters, tabs, line ends."""
    return all(char.isprintable() or char in "\n\t" for char in text)


def is_one_line(text: str) -> bool:
    return text.isprintable() and text != ""


def state_of(root: Path) -> Mapping[str, object]:
    """Return what reveals any change below ``root``, except in the log."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)
    for logged in ("messages", ""):
        found.pop(str(root / "mroot" / "etc" / logged), None)
    return found


def typed(house: House, line: str, answers: Sequence[bytes] = ()) -> str:
    """Run a script line with its answers, with echo, and return the output."""
    screen = StringIO()
    signals = Signals(house.filer.interrupt)
    console = ScriptConsole(LineInput(answers), signals, echo=True, out=screen, err=screen)
    session = Session(house.filer, COMMANDS, console)
    console.echo(session.prompt, line)
    with suppress(Leave):
        session.execute(line)
    return screen.getvalue()


def is_harmless(text: str) -> bool:
    return is_safe(text) and "internal error" not in text


@dataclass(frozen=True)
class Site:
    """A filer that has registered a real key server and keeps a key there."""

    house: House
    server: KeyServer
    secret: str = field(repr=False)

    @property
    def root(self) -> Path:
        return self.house.root


@pytest.fixture(scope="module")
def site(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with (
        faulty.running(authority, directory / "key servers", 1) as servers,
        House.build(directory / "root", servers) as house,
    ):
        house.add(*servers)
        secret = house.secret(house.rekey()).reveal().decode()
        house.must("disk encrypt rekey 0x0 *")
        yield Site(house, servers[0], secret)


# Typed lines and answers.

WORDS = sorted({word for each in COMMANDS.values() for word in " ".join(each.synopsis).split()})


@examples(200)
@given(line=TEXTS | st.lists(TEXTS | st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_any_line_is_run_or_refused_and_changes_nothing(site: Site, line: str) -> None:
    before = state_of(site.root)

    assert is_harmless(typed(site.house, line))
    assert state_of(site.root) == before


@examples(200)
@given(
    command=st.sampled_from(
        [
            "key_manager status -key_server {}",
            "key_manager add -key_server {}",
            "key_manager remove -key_server {}",
            "key_manager query -key_server {}",
            "key_manager restore -key_server {}",
            "key_manager restore -all -key_tag {}",
            "key_manager rekey -key_tag {}",
            "keymgr install cert {}",
            "keymgr delete cert {}",
            "disk encrypt show {}",
            "disk encrypt lock {}",
            "disk encrypt rekey {} 0c.00.0",
            "disk encrypt rekey 0x1 {}",
            "disk encrypt sanitize {}",
            "disk encrypt destroy {}",
            "rdfile {}",
            "rdfile /etc/{}",
            "options {}",
            "man {}",
            "help {}",
            "priv set {}",
            "logger {}",
            "{}",
        ]
    ),
    # "!" prevents the text from being a valid key tag, pattern or the like.
    text=TEXTS.map(lambda text: f"\x1b{text} !".replace("\n", "\r")),
)
def test_any_word_in_any_place_is_refused_and_changes_nothing(
    site: Site, command: str, text: str
) -> None:
    before = state_of(site.root)

    assert is_harmless(typed(site.house, command.format(quote(text))))
    assert state_of(site.root) == before


@pytest.mark.parametrize(
    "line",
    [
        "a" * 2**20,
        "'" * (2**18 + 1),
        '"' + "\\" * 2**18,
        "\\" * 2**18,
        ";" * 2**18,
        "logger " + "a " * 2**13,
        "disk encrypt show " + "[" * 2**16,
        "disk encrypt show " + "*a" * 2**10,
        "key_manager restore -key_server " + "1" * 2**16,
        "key_manager status" + " -key_server 127.0.0.9" * 2**12,
        "key_manager " + "-key_server " * 2**12,
        "rdfile /etc" + "/." * 2**16,
        "keymgr install cert " + "/a" * 2**16,
        "man " + "../" * 2**12,
    ],
    ids=lambda line: line[:20],
)
def test_a_line_of_any_length_is_a_line(site: Site, line: str) -> None:
    before = state_of(site.root)

    assert is_harmless(typed(site.house, line))
    assert state_of(site.root) == before


ANSWERS = st.lists(
    BYTES
    | st.sampled_from([b"q", b"yes", b"no", b"", b"127.0.0.2", b"0" * 5000, b"9" * 5000, b"5696"]),
    max_size=12,
)


@examples(150)
@given(first=st.sampled_from([(), (b"127.0.0.77", b"q")]), answers=ANSWERS, last=BYTES)
def test_any_answers_to_setup_are_asked_again_or_end_it(
    site: Site, first: tuple[bytes, ...], answers: Sequence[bytes], last: bytes
) -> None:
    before = state_of(site.root)
    # Until the key servers are registered nothing changes; there is none at 127.0.0.77.
    given_answers = [*first, *(each for each in answers if each != b"127.0.0.2"), last]

    registration = site.house.filer.registration

    printed = typed(site.house, "key_manager setup", [line + b"\n" for line in given_answers])

    assert is_harmless(printed)
    if "Registering" not in printed:
        assert state_of(site.root) == before
    else:
        site.house.must("disk encrypt rekey 0x0 *")
        begin(site.house.filer, registration).accept()


@examples(40)
@given(command=st.sampled_from(["sanitize", "destroy"]), answer=BYTES)
def test_any_answer_but_the_exact_words_erases_nothing(
    site: Site, command: str, answer: bytes
) -> None:
    before = state_of(site.root)

    assert is_harmless(typed(site.house, f"disk encrypt {command} 0c.00.3", [answer + b"\n"]))
    assert state_of(site.root) == before


@examples(30)
@given(entries=st.lists(BYTES, min_size=2, max_size=6))
def test_any_passphrase_is_weighed_and_never_shown(site: Site, entries: Sequence[bytes]) -> None:
    before = state_of(site.root)
    lines = [entry.replace(b"\n", b"") for entry in entries]

    printed = typed(
        site.house, "key_manager rekey -manual", [b"short" + line[:8] + b"\n" for line in lines]
    )

    assert is_harmless(printed)
    assert "short" not in printed
    assert state_of(site.root) == before


# Files of the root.


class Rejected(Exception):
    """The filer did not boot, for a reason in one line."""


@contextmanager
def instead(path: Path, content: bytes) -> Iterator[None]:
    """Overwrite a file in place, and check that everything is restored afterwards."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def power_cycled(house: House) -> Told:
    """Power on and boot; check that the output is harmless. Raises Rejected if that is refused."""
    told = Told()
    try:
        house.boot(told)
    except FilerError as error:
        reason = str(error)
    else:
        reason = ""
    for line in (*told.warnings, *told.steps, *sum(told.boxes, ()), reason or "up"):
        assert is_one_line(line)
        assert "internal error" not in line
    if reason:
        raise Rejected
    return told


ROOT_FILES = (
    "filer.toml",
    "var/kmip/config.toml",
    f"var/kmip/certs/{CLIENT}",
    f"var/kmip/certs/{CLIENT_PRIVATE}",
    f"var/kmip/certs/{ca_name('127.0.0.2')}",
    "var/loader.toml",
    "var/panics.toml",
    "var/clock.toml",
    "var/shelf.toml",
    "mroot/etc/messages",
    "mroot/etc/registry",
    f"mroot/etc/keymgr/cert/{CLIENT}",
    "power",
    ".filer",
)
NOT_THERE_AT_FIRST = {
    "loader.toml": b'AUTOBOOT = "true"\n',
    "panics.toml": b"in_a_row = 1\n",
    "clock.toml": b"offset = 60.0\n",
    "registry": b'"disk.auto_assign" = "on"\n',
}
KEPT = ("var/panics.toml", "var/shelf.toml", "mroot/etc/messages")
"""Files that a boot rewrites if it understands their content."""


@examples(80)
@given(
    name=st.sampled_from(ROOT_FILES),
    content=BYTES | st.integers(0, 2**32),
)
def test_any_bytes_in_a_file_of_the_root_are_read_or_named_and_kept(
    site: Site, name: str, content: bytes | int
) -> None:
    path = site.root / name
    if not path.exists():  # these files do not exist until they are needed
        path.write_bytes(NOT_THERE_AT_FIRST[path.name])
    if isinstance(content, int):
        original = DEFAULT_TEXT.encode() if name == "filer.toml" else path.read_bytes()
        content = damaged(original, random.Random(content))
        content = content.replace(b"disks = 12", b"disks = 4").replace(b"64 MiB", b"1 MiB")
    with instead(path, content):
        try:
            power_cycled(site.house)
        except Rejected:
            assert path.read_bytes() == content
        else:
            assert name in KEPT or path.read_bytes() == content
            printed = typed(site.house, "sysconfig -r; options; keymgr list cert; disk show")
            printed += typed(site.house, "keymgr view cert client.pem; sysconfig -a")
            assert is_harmless(printed)
            assert is_harmless(typed(site.house, "rdfile /etc/messages"))
    power_cycled(site.house)


HOSTILE_SETTINGS = (
    EVIL.encode("utf-8", "surrogatepass"),
    f'[system]\nhostname = "{EVIL_NAME}"\n'.encode(),
    f'[system]\n"{EVIL_NAME}" = 1\n'.encode(),
    b'[system]\n"\\u001b[31m" = 1\n',
    b'["\\u001b[31m\\u202e"]\n',
    b'[system]\nhostname = "\\u001b[31m"\n',
    b"[system]\nsystem_id = " + b"9" * 5000,
    b"[" * 5000,
    b"\x00",
    b"\xff\xfe",
    b"[shelf]\ndisks = 2\n",
)


def test_a_hostile_filer_toml_is_one_line_of_the_program(account: Account) -> None:
    for content in HOSTILE_SETTINGS:
        with pytest.raises(ConfigError, match=r"^filer\.toml:") as refused:
            parse(content)
        assert is_one_line(str(refused.value)), content
    account.settings.write_bytes(HOSTILE_SETTINGS[2])

    ended = account.commands("hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith("filer: filer.toml:")
    assert is_one_line(ended.err.removesuffix("\n"))
    assert [path.name for path in account.root.rglob("*")] == ["filer.toml"]


# Disks.


def resealed(slot: bytes) -> bytes:
    """Give an edited header slot a correct checksum."""
    body = slot[: SLOT_SIZE - 32]
    return body + hashlib.sha256(body).digest()


def _any_bytes(disk: bytes, noise: bytes, _place: int) -> bytes:
    return noise


def _any_head(disk: bytes, noise: bytes, place: int) -> bytes:
    place %= DATA_OFFSET
    return disk[:place] + noise + disk[place + len(noise) :]


def _edited_header(disk: bytes, noise: bytes, place: int) -> bytes:
    place %= 400
    slot = disk[:place] + noise + disk[place + len(noise) :]
    return resealed(slot[:SLOT_SIZE]) + disk[SLOT_SIZE:]


def _truncated(disk: bytes, _noise: bytes, place: int) -> bytes:
    return disk[: place % len(disk)]


def _truncated_in_the_head(disk: bytes, _noise: bytes, place: int) -> bytes:
    return disk[: place % DATA_OFFSET]


@examples(60)
@given(
    name=st.sampled_from(["0c.00.0", "0c.00.3"]),
    harm=st.sampled_from(
        [_any_bytes, _any_head, _edited_header, _truncated, _truncated_in_the_head]
    ),
    noise=BYTES,
    place=st.integers(0, 2**24),
)
def test_any_bytes_in_a_disk_file_are_a_disk_or_left_out_by_name_and_kept(
    site: Site,
    name: str,
    harm: Callable[[bytes, bytes, int], bytes],
    noise: bytes,
    place: int,
) -> None:
    path = site.root / "shelf" / f"{name}.sed"
    content = harm(path.read_bytes(), noise, place)
    with instead(path, content):
        told = power_cycled(site.house)
        if name not in site.house.filer.shelf.disks:
            assert [warning for warning in told.warnings if warning.startswith(f"{name}: ")]
            assert path.read_bytes() == content
        printed = typed(site.house, "sysconfig -r; aggr status -r; disk show; disk encrypt show")
        assert is_harmless(printed)
    assert len(power_cycled(site.house).warnings) == 0


def test_hostile_names_in_the_shelf_are_reported_escaped(site: Site) -> None:
    names = [f"{EVIL_NAME}.sed", "0c.00.9\n.sed", "\udcff.sed", "0c.00.\u0663.sed", ".sed.sed"]
    paths = [site.root / "shelf" / name for name in names]
    for path in paths:
        path.write_bytes(b"x")
    try:
        told = power_cycled(site.house)
        assert len(told.warnings) == len(names)
        assert {path.read_bytes() for path in paths} == {b"x"}
    finally:
        for path in paths:
            path.unlink()


@examples(25)
@given(
    label=st.builds(
        Label,
        st.integers(0, 2**32) | st.just(1573922407),
        TEXTS | st.just("aggr0"),
        st.tuples(TEXTS, TEXTS, TEXTS),
    )
    | BYTES
)
def test_any_label_on_a_disk_is_believed_or_not_but_never_printed(
    site: Site, label: Label | bytes
) -> None:
    spare = site.house.disks[3]
    before = spare.read_block(0)
    block = label.pack() if isinstance(label, Label) else label.ljust(BLOCK_SIZE, b"\0")
    spare.write_block(0, block)
    try:
        power_cycled(site.house)
        assert is_harmless(typed(site.house, "aggr status -r; sysconfig -r; disk show"))
        refused = typed(site.house, "disk encrypt sanitize 0c.00.3", [b"no\n"])
        assert is_harmless(refused)
    finally:
        site.house.disks[3].write_block(0, before)
        power_cycled(site.house)


# Certificates.


@examples(150)
@given(
    name=st.sampled_from([CLIENT, CLIENT_PRIVATE, ca_name("127.0.0.2")]),
    content=st.binary(max_size=64) | st.integers(0, 2**32),
)
def test_any_bytes_as_a_certificate_are_installed_as_they_are_or_refused(
    site: Site, name: str, content: bytes | int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given_file = tmp_path_factory.getbasetemp() / name
    original = (site.server.directory / name).read_bytes()
    if isinstance(content, int):
        content = damaged(original, random.Random(content))
    given_file.write_bytes(content)
    installed = site.root / "mroot" / "etc" / "keymgr" / "cert" / name
    before = state_of(site.root)

    printed = typed(site.house, f"keymgr install cert {given_file}")

    assert is_harmless(printed)
    if "replaces the one" in printed:
        assert installed.read_bytes() == content
        assert is_harmless(typed(site.house, "keymgr list cert"))
        installed.write_bytes(original)
    else:
        assert state_of(site.root) == before


def test_a_hostile_name_in_a_certificate_is_shown_escaped(site: Site, tmp_path: Path) -> None:
    evil = pki.client(pki.authority(f"CA {EVIL_NAME}"), f"client {EVIL_NAME}\nExpires: never")
    path = tmp_path / CLIENT
    path.write_bytes(evil.certificate_pem())
    installed = site.root / "mroot" / "etc" / "keymgr" / "cert" / CLIENT
    with instead(installed, installed.read_bytes()):
        assert is_harmless(typed(site.house, f"keymgr install cert {path}"))
        listed = typed(site.house, "keymgr list cert")

    assert is_harmless(listed)
    assert "\\x1b[31m" in listed
    assert "\nExpires" not in listed


@examples(100)
@given(content=st.binary(max_size=200) | BYTES)
def test_any_file_is_printed_by_rdfile_without_control_characters(
    site: Site, content: bytes
) -> None:
    path = site.root / "mroot" / "etc" / "any"
    path.write_bytes(content)

    printed = typed(site.house, "rdfile /etc/any")

    assert is_harmless(printed)
    assert path.read_bytes() == content


# Answers of a key server.


@pytest.fixture(scope="module")
def recorded(site: Site) -> Sequence[Recorded]:
    """The answers to every request that a filer sends."""
    return recorded_from("filer-keyserver", site.server)


@contextmanager
def at_port(house: House, port: int) -> Iterator[None]:
    """Let the filer connect to the proxy before its key server."""
    before = house.filer.hardware
    house.filer.hardware = before._replace(port=port, timeout=2.0)
    try:
        yield
    finally:
        house.filer.hardware = house.filer.hardware._replace(port=before.port, timeout=10.0)


def message_with(parts: Sequence[Element]) -> bytes:
    body = body_of(parts)
    return struct.pack("!II", hostile.RESPONSE_MESSAGE << 8 | 1, len(body)) + body


def body_of(parts: Sequence[Element]) -> bytes:
    return b"".join(part.encoding() for part in parts)


def check_decoded(body: bytes, answer: Recorded) -> None:
    """Decode an answer: the result is harmless, and only a refusal is raised."""
    from filer.kmip.answers import NotKmip, Success, decode
    from filer.kmip.descriptions import Description
    from filer.kmip.objects import StoredObject
    from filer.kmip.refusals import Refusal, RequestRefused

    nothing = Description((), (), "unknown", False)
    outcomes: list[Success | Refusal] = []
    try:
        outcomes += decode(body, answer.items, answer.first)
    except NotKmip:
        return
    except RequestRefused as refused:
        outcomes.append(refused.refusal)
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            assert is_one_line(outcome.reason)
            continue
        assert isinstance(outcome, Success)
        assert all(map(str.isprintable, outcome.identifiers))
        stored = StoredObject("1", outcome.description or nothing, outcome.key)
        for pair in stored.pairs():
            assert is_one_line(pair.key_id)
            assert is_one_line(pair.tag)


@examples(300)
@given(
    choice=st.integers(0, 2**16),
    seed=st.integers(0, 2**32),
    chance=st.sampled_from([0.02, 0.1, 0.5]),
)
def test_any_well_formed_answer_is_understood_or_refused(
    recorded: Sequence[Recorded], choice: int, seed: int, chance: float
) -> None:
    answer = recorded[choice % len(recorded)]
    parts = meddled(list(elements(answer.body)), random.Random(seed), chance)

    check_decoded(body_of(parts), answer)


@examples(200)
@given(choice=st.integers(0, 2**16), seed=st.integers(0, 2**32))
def test_any_damaged_answer_is_understood_or_refused(
    recorded: Sequence[Recorded], choice: int, seed: int
) -> None:
    answer = recorded[choice % len(recorded)]

    check_decoded(answer.body, answer)
    check_decoded(damaged(answer.body, random.Random(seed)), answer)


TREES = st.recursive(
    st.builds(
        Element,
        st.sampled_from([0x42006A, 0x42006B, 0x42000D, *range(0x420069, 0x420098), 0x42000F]),
        st.integers(2, 10),
        st.binary(max_size=16) | st.sampled_from([b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\x0a"]),
    ),
    lambda inner: st.builds(
        lambda tag, parts: Element(tag, 1, b"".join(part.encoding() for part in parts)),
        st.sampled_from([0x42007A, 0x42000F, 0x42007C, 0x420069, 0x420008, 0x420040]),
        st.lists(inner, max_size=6),
    ),
    max_leaves=16,
)


@examples(150)
@given(choice=st.integers(0, 2**16), parts=st.lists(TREES, max_size=4), whole=st.booleans())
def test_any_tree_is_understood_or_refused(
    recorded: Sequence[Recorded], choice: int, parts: Sequence[Element], whole: bool
) -> None:
    answer = recorded[choice % len(recorded)]
    header, *items = elements(answer.body)
    if not whole:  # a real header and a real first item, with an arbitrary payload
        inner = [
            Element(each.tag, 1, b"".join(part.encoding() for part in parts))
            if each.tag == hostile.RESPONSE_PAYLOAD
            else each
            for each in elements(items[0].value)
        ]
        first = Element(items[0].tag, 1, b"".join(part.encoding() for part in inner))
        parts = [header, first, *items[1:]]

    check_decoded(body_of(parts), answer)


@pytest.fixture(scope="module")
def meddler(site: Site) -> Iterator[tuple[list[hostile.Meddle], int]]:
    """A replaceable meddler before a key server, and its port."""
    current: list[hostile.Meddle] = [hostile.unchanged]

    def meddle(answer: hostile.Answer, request: bytes) -> hostile.Answer | bytes:
        return current[0](answer, request)

    with hostile.proxy(site.server, meddle) as server:
        yield current, server.port


READING = ("key_manager status", "key_manager query", "key_manager restore -all")


@examples(30)
@given(
    line=st.sampled_from([*READING, "key_manager rekey", "disk encrypt rekey 0x1 *"]),
    seed=st.integers(0, 2**32),
    chance=st.sampled_from([0.05, 0.3]),
)
def test_any_answer_of_a_key_server_over_tls_costs_one_line(
    site: Site,
    meddler: tuple[list[hostile.Meddle], int],
    line: str,
    seed: int,
    chance: float,
) -> None:
    current, port = meddler
    randomness = random.Random(seed)
    shelf = state_of(site.root / "shelf")

    def meddle(answer: hostile.Answer, _request: bytes) -> bytes:
        return message_with(meddled(list(elements(bytes(answer)[8:])), randomness, chance))

    current[0] = meddle
    before = state_of(site.root)
    with at_port(site.house, port):
        printed = typed(site.house, line)

    assert is_harmless(printed)
    assert site.secret not in printed
    if line == "key_manager rekey":
        # It may have succeeded. If not, no disk was touched.
        assert state_of(site.root / "shelf") == shelf or "Completed rekey" in printed
        typed(site.house, "disk encrypt rekey 0x0 *")
    else:
        assert state_of(site.root) == before


@paired(
    ("text", [EVIL, EVIL_NAME, "\x1b[2J" * 1000, "ok\nKey server", "", " "]),
    ("tag", [hostile.NAME_VALUE, 0x42000B, 0x420038, 0x420035, 0x420094]),
)
def test_texts_of_another_program_on_the_key_server_are_never_printed(
    site: Site, meddler: tuple[list[hostile.Meddle], int], text: str, tag: int
) -> None:
    current, port = meddler
    value = text.encode("utf-8", "surrogatepass")

    def replaced(found: Sequence[Element]) -> bytes:
        parts = []
        for each in found:
            if each.type == 1:
                parts.append(Element(each.tag, 1, replaced(list(elements(each.value)))))
            else:
                is_meant = each.tag == tag and each.type == hostile.TEXT
                parts.append(Element(each.tag, each.type, value) if is_meant else each)
        return b"".join(part.encoding() for part in parts)

    def meddle(answer: hostile.Answer, _request: bytes) -> bytes:
        body = replaced(list(elements(bytes(answer)[8:])))
        return struct.pack("!II", hostile.RESPONSE_MESSAGE << 8 | 1, len(body)) + body

    current[0] = meddle
    with at_port(site.house, port):
        printed = "".join(typed(site.house, line) for line in READING)

    assert is_harmless(printed)
    assert "ok\nKey server" not in printed


@pytest.mark.parametrize("reason", [0, 1, 4, 0x7FFFFFFF, 0xFFFFFFFF])
def test_the_message_of_a_refusal_is_never_printed_with_a_key_in_it(
    site: Site, meddler: tuple[list[hostile.Meddle], int], reason: int
) -> None:
    current, port = meddler

    def meddle(answer: hostile.Answer, _request: bytes) -> hostile.Answer:
        message = EVIL_NAME + site.secret
        items = [hostile.failed(item, reason, message) for item in answer.items]
        return hostile.Answer(answer.header, items)

    current[0] = meddle
    with at_port(site.house, port):
        printed = "".join(typed(site.house, line) for line in READING)

    assert is_harmless(printed)
    assert "31m" not in printed
    assert site.secret not in printed
    assert "is responding, but cannot be used: " in printed


# The environment of the filer.


@examples(100)
@given(content=st.binary(max_size=200) | BYTES | BYTES.map(lambda text: b"\n+" + text + b"\n"))
def test_any_history_is_read_and_kept(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "history"
    path.write_bytes(content)

    lines = list(PrivateFileHistory(path).load_history_strings())

    assert all(isinstance(line, str) for line in lines)
    assert path.read_bytes() == content


def test_a_hostile_history_is_recalled_as_text(account: Account) -> None:
    account.history.parent.mkdir(parents=True)
    account.history.write_bytes(b"\xff\x00\n+" + EVIL_NAME.encode() + b"\x1b]0;owned\x07\n")
    with editing(account) as terminal:
        terminal.booted().type("\x1b[A")
        terminal.shows("owned")
        terminal.type("\x03")
        terminal.wait_for_prompt()

        assert terminal.enter("hostname") == "filer1\n"
        assert "\x1b]0;owned" not in terminal.seen
        assert not set("\x9b\u202e\u2066").intersection(terminal.seen)


def test_a_hostile_root_and_lock_are_reported_escaped(tmp_path: Path) -> None:
    root = tmp_path / f"root {EVIL_NAME}"
    account = Account(tmp_path / "home", root=root)
    assert account.commands("hostname").status == 0
    with House(root):
        (root / "power").write_bytes(b"\x1b[31m\x9b1\n")

        in_use = account.commands("hostname")

    (root / "shelf").rename(root / "elsewhere")
    (root / "shelf").write_bytes(b"in the way")
    unusable = account.commands("hostname")

    assert in_use.err.endswith(" is in use by process ?\n")
    for ended in (in_use, unusable):
        assert ended.status == 2
        assert is_one_line(ended.err.removesuffix("\n"))


def test_hostile_arguments_and_environment_are_reported_escaped(account: Account) -> None:
    for arguments in (
        [f"--{EVIL_NAME}"],
        [EVIL_NAME],
        ["-c", EVIL_NAME],
        ["-x", "-c", f"logger {EVIL_NAME}"],
        ["-x", "-c", f"date; uptime; key_manager {EVIL_NAME}"],
        ["--root", f"/dev/null/{EVIL_NAME}"],
        ["one", EVIL_NAME],
    ):
        ended = account.run(
            *arguments,
            environment={
                "TZ": f"<{EVIL_NAME}>0",
                "COLUMNS": EVIL_NAME,
                "FILER_ROOT": str(account.root / EVIL_NAME),
                "XDG_STATE_HOME": EVIL_NAME,
            },
        )
        assert is_safe(ended.out + ended.err)
        assert "Traceback" not in ended.err
        assert "internal error" not in ended.err


HOSTILE_PLUGIN = """
from filer.commands import Command, Subcommand

NAME = "\\x1b[31m\\u202e"


class Hostile(Exception):
    def __str__(self):
        {text}


Hostile.__name__ = NAME


def _run(call):
    raise Hostile


{offer}
"""


@paired(
    ("text", ["return NAME", "raise ValueError"]),
    (
        "offer",
        [
            "COMMAND = Command('fail', 'fail', Subcommand('fail', _run))",
            "COMMAND = Command(NAME, 'fail', Subcommand(NAME, _run))",
            "raise Hostile",
            "COMMAND = Hostile()",
        ],
    ),
)
def test_a_hostile_plug_in_is_reported_escaped(
    account: Account, tmp_path: Path, text: str, offer: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "hostile_plugin", HOSTILE_PLUGIN.format(text=text, offer=offer))

    ended = account.commands("?", "fail", "hostname", environment={"PYTHONPATH": str(site)})

    assert ended.out.endswith("filer1\n")
    assert is_safe(ended.out + ended.err)
    assert "Traceback" not in ended.err


def test_the_installed_program_takes_any_bytes_for_lines_and_files(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", SMALL_SHELF)
    assert account.commands("hostname").status == 0
    before = state_of(account.root)
    noise = random.Random(1).randbytes(20_000) + EVIL.encode("utf-8", "surrogatepass") + b"\n"
    file = account.home.parent / EVIL_NAME
    file.write_bytes(noise)

    for ended in (account.run("-x", input=noise), account.run("-x", file)):
        assert ended.status == 1
        assert is_safe(ended.out + ended.err)
        assert "Traceback" not in ended.err
        assert "internal error" not in ended.err
    after = state_of(account.root)
    assert {path for path in after if after[path] != before.get(path)} <= {
        str(account.root / lock) for lock in ("power", "service")
    }
