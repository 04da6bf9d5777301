"""The colours of a line and the content of the toolbar, without a screen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pygments.token import Comment, Error, Text, _TokenType

from filer.shell.line.highlighting import TOKENS, GrammarLexer
from filer.shell.line.parsing import would_run
from filer.shell.prompt.toolbar import Part, fitting, fragments, parts
from tests.kit import manual, pki
from tests.kit.house import House
from tests.kit.manual import Build
from tests.kit.pairs import PARENT_TAG, new_pair, put

build = manual.build


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House.build(tmp_path / "root", disks=4) as house:
        yield house


ROLES = {token: kind.value for kind, token in TOKENS.items()} | {Comment: "comment", Error: "wrong"}


def lexed(house: House, text: str) -> list[tuple[int, _TokenType, str]]:
    return list(GrammarLexer(house.session.commands).get_tokens_unprocessed(text))


def coloured(house: House, text: str) -> list[str]:
    return [f"{word}={ROLES[token]}" for _, token, word in lexed(house, text) if token is not Text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("host", ""),
        ("hostname", "hostname=command"),
        ("key_manager sh", "key_manager=command"),
        ("key_manager show", "key_manager=command show=subcommand"),
        (
            "key_manager add -key_server 127.0.0.2",
            "key_manager=command add=subcommand -key_server=option 127.0.0.2=variable",
        ),
        ("key_manager add -key", "key_manager=command add=subcommand"),
        ("key_manager add ", "key_manager=command add=subcommand"),
        (
            "disk encrypt lock '0c.00.1",
            "disk=command encrypt=subcommand lock=subcommand '0c.00.1=variable",
        ),
        ("hostname; dis", "hostname=command"),
        ("hostname # or not", "hostname=command # or not=comment"),
        ("# nothing", "# nothing=comment"),
        ("key_manager \\", "key_manager=command"),
        ("key_manager sh\\", "key_manager=command"),
        ("key_manager \\\nshow", "key_manager=command show=subcommand"),
    ],
)  # fmt: skip
def test_what_may_still_become_right_is_not_wrong(house: House, text: str, words: str) -> None:
    assert " ".join(coloured(house, text)) == words


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("hostx", "hostx"),
        ("host ", "host"),
        ("Hostname", "Hostname"),
        ("hostname x", "x"),
        ("key_manager sh ", "sh"),
        ("key_manager shx", "shx"),
        ("key_manager add -key_servr", "-key_servr"),
        ("key_manager add -key_server -key_tag x", "-key_tag"),
        ("key_manager show; nonsense ; hostname", "nonsense"),
        ("hos\\t ", "hos\\t"),
    ],
)
def test_what_cannot_be_right_is_wrong(house: House, text: str, wrong: str) -> None:
    marked = [word for word in coloured(house, text) if word.endswith("=wrong")]

    assert marked == [f"{wrong}=wrong"]


def test_behind_a_wrong_word_nothing_is_said(house: House) -> None:
    assert coloured(house, "key_manager nonsense show") == ["key_manager=command", "nonsense=wrong"]
    assert coloured(house, "nonsense; hostname") == ["nonsense=wrong", "hostname=command"]


WORDS = st.sampled_from(
    [
        "key_manager",
        "show",
        "add",
        "-key_server",
        "disk",
        "lock",
        "x",
        "'",
        '"',
        "\\",
        ";",
        "#",
        " ",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS | st.text(max_size=3), max_size=12))
def test_no_character_of_any_line_is_lost(house: House, pieces: list[str]) -> None:
    text = " ".join(pieces)
    found = lexed(house, text)

    assert "".join(words for _, _, words in found) == text
    assert all(words and text.startswith(words, offset) for offset, _, words in found)


def test_a_line_that_runs_has_nothing_wrong(house: House) -> None:
    for line in ("hostname", "key_manager show", "help key_manager", "disk encrypt show 0c.00.1 *"):
        assert would_run(house.session.commands, line)
        assert not any(word.endswith("=wrong") for word in coloured(house, line))


# The toolbar.


def texts(house: House) -> list[str]:
    return [part.text for part in parts(house.session)]


def test_the_toolbar_has_what_matters(house: House) -> None:
    assert texts(house) == [
        "no key servers",
        "disks 0/4 locked",
        "0 key pairs",
        "admin",
        f"tag {house.filer.key_tag}",
    ]


@pytest.mark.parametrize(
    ("valid", "text"),
    [(pki.EXPIRING, "client.pem expires in 12 days"), (pki.EXPIRED, "client.pem expired")],
)
def test_the_toolbar_warns_of_a_certificate_that_expires(
    build: Build, valid: pki.Period, text: str
) -> None:
    house = build()
    house.install_client(pki.client(pki.authority_of(house.servers[0]), valid=valid))
    house.execute("key_manager add -key_server 127.0.0.2")
    assert parts(house.session)[0] == Part(text, alarm=True)


def test_the_toolbar_shows_the_last_known_state(build: Build) -> None:
    house = build()
    house.good("key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3")
    assert parts(house.session)[0] == Part("key servers 2/2 up", brief="servers 2/2")

    house.servers[1].stop()
    assert parts(house.session)[0] == Part("key servers 2/2 up", brief="servers 2/2")
    house.execute("key_manager status")
    assert parts(house.session)[0] == Part("key servers 1/2 up", alarm=True, brief="servers 1/2")
    assert house.filer.last_heard == {"127.0.0.2": True, "127.0.0.3": False}

    house.servers[1].start()
    house.good("key_manager status -key_server 127.0.0.3")
    assert parts(house.session)[0] == Part("key servers 2/2 up", brief="servers 2/2")

    house.good("key_manager rekey -key_tag weekly")
    (entry,) = house.filer.keytable
    house.good(f"disk encrypt rekey {entry.key_id} 0c.00.1 0c.00.2")
    house.good("disk encrypt lock 0c.00.1")
    assert texts(house)[1:3] == [f"disks 1/{len(house.filer.shelf)} locked", "1 key pairs"]


def test_a_narrow_toolbar_leaves_out_the_least_important() -> None:
    some = [Part("one"), Part("two"), Part("three")]

    assert fitting(some, 80) == some
    assert fitting(some, 17) == some
    assert fitting(some, 16) == some[:2]
    assert fitting(some, 3) == some[:1]
    assert fitting(some, 2) == []


def test_a_narrow_toolbar_is_brief_from_the_last_part_on() -> None:
    some = [Part("one and all", brief="one"), Part("two"), Part("three or more", brief="three")]

    def shown(width: int) -> list[str]:
        return [part.text for part in fitting(some, width)]

    assert shown(33) == ["one and all", "two", "three or more"]
    assert shown(32) == shown(25) == ["one and all", "two", "three"]
    assert shown(24) == shown(17) == ["one", "two", "three"]
    assert shown(16) == ["one", "two"]


def test_all_that_matters_of_a_large_filer_fits_into_80_columns(build: Build) -> None:
    house = build(servers=4, disks=1000)
    house.add()
    put(house.servers[0], *(new_pair() for _ in range(100)))
    house.execute("key_manager restore -all")
    house.good("priv set advanced")
    locked = [disk.name for disk in house.disks[:100]]
    key_id = next(iter(house.filer.keytable)).key_id
    house.good(f"disk encrypt rekey {key_id} {' '.join(locked)}")
    house.good(f"disk encrypt lock {' '.join(locked)}")

    shown = "".join(text for _, text in fragments(fitting(parts(house.session), 80)))

    assert shown == (f"servers 4/4 | locked 100/1000 | keys 100 | advanced | tag {PARENT_TAG}")
    assert len(shown) == 79  # with every disk locked it would be 80


def test_a_long_tag_is_cut_before_anything_is_left_out(build: Build) -> None:
    tag = "a" * 64
    house = build()
    house.filer.registration = house.filer.registration._replace(default_tag=tag)

    def shown(width: int) -> list[str]:
        return [part.text for part in fitting(parts(house.session), width)]

    assert shown(200)[-1] == f"tag {tag}"
    assert shown(80)[-2:] == ["admin", f"tag {'a' * 18}..."]
    assert shown(40) == ["no servers", "locked 0/4", "keys 0", "admin"]


def test_an_alarm_is_styled() -> None:
    assert fragments([Part("a", alarm=True), Part("b")]) == [
        ("class:alarm", "a"),
        ("", " | "),
        ("", "b"),
    ]
