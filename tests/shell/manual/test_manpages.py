"""The manual pages: valid man(7), complete, and rendered in process exactly as by mandoc."""

import random
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filer.shell.manual import pages as manpages
from filer.shell.manual.pages import find, names
from filer.shell.manual.typesetting import (
    EXAMPLE,
    HEADING,
    ManualPageError,
    render,
    render_fragments,
)
from tests.kit.pages import DIRECTORY, HEAD, PAGES, by_mandoc, run, synopsis

every_page = pytest.mark.parametrize("name", PAGES)


def body(source: str, width: int = 80) -> str:
    """Render ``source`` below a heading, and return it without the lines of every page."""
    return "\n".join(render(f"{HEAD}.SH TEXT\n{source}", width).splitlines()[6:-2])


# The pages themselves.


@every_page
def test_mandoc_has_no_complaint_about_a_page(name: str) -> None:
    assert run("mandoc", "-Tlint", "-Wall", str(DIRECTORY / f"{name}.1")) == ""


@every_page
@pytest.mark.parametrize("width", [60, 80, 120])
def test_man_shows_a_page_without_a_warning(name: str, width: int) -> None:
    page = DIRECTORY / f"{name}.1"
    shown = run("man", "--warnings", "-l", str(page), MANWIDTH=str(width), MANPAGER="cat")
    assert f"{name.upper()}(1)" in shown


@every_page
def test_a_page_has_an_iso_date_and_no_paragraph_macro_after_a_heading(name: str) -> None:
    lines = PAGES[name].splitlines()
    after_heading = [
        second for first, second in pairwise(lines) if first.startswith((".SH", ".SS"))
    ]
    assert ".PP" not in after_heading
    assert re.fullmatch(r'\.TH [A-Z_-]+ 1 \d{4}-\d\d-\d\d filer "Filer Manual"', lines[0])


@every_page
def test_a_sentence_ends_its_line_of_source(name: str) -> None:
    inside = [
        line
        for line in PAGES[name].splitlines()
        if not line.startswith(".") and re.search(r"[a-z)][.!?] +[A-Z]", line)
    ]
    assert inside == []


@every_page
def test_a_page_refers_only_to_pages_that_are_there(name: str) -> None:
    text = render(PAGES[name], 100_000)
    referred = set(re.findall(r"\b([a-z][a-z_-]+)\(1\)", text)) - {"sh"}
    assert referred <= set(PAGES)
    assert referred - {name} <= set(re.findall(r"[a-z_-]+", text.split("\nSEE ALSO\n")[1]))


def test_there_is_a_page_for_every_program_and_every_command_of_storage_encryption() -> None:
    assert set(PAGES) == {
        "filer",
        "filer-keyserver",
        "filer-qualify",
        "filer-shelf",
        "filer-storm",
        "na_disk",
        "na_key_manager",
        "na_keymgr",
    }


SYNOPSES = {
    "na_key_manager": """\
key_manager setup
key_manager add ( -key_server ipaddr )+
key_manager remove ( -key_server ipaddr )+
key_manager show
key_manager status ( -key_server ipaddr )*
key_manager query ( -key_server ipaddr )*
key_manager rekey [ -manual ] [ -key_tag tag ]
key_manager restore -all [ -key_tag tag ]
key_manager restore -key_server ipaddr [ -key_tag tag ]""",
    "na_keymgr": """\
keymgr install cert path
keymgr list cert
keymgr view cert name
keymgr delete cert name""",
    "na_disk": """\
disk show [ -v | -a | -n | -o owner | -s sysid ]
disk assign { all | auto | disk_list } [ -o owner ] [ -s sysid ] [ -f ]
disk fail [ -i ] [ -f ] disk_name
disk unfail disk_name
disk zero spares
disk encrypt show [ disk_list ]
disk encrypt lock disk_list
disk encrypt rekey new_key_id disk_list
disk encrypt sanitize { -all | disk_list }
disk encrypt destroy disk_list""",
    "filer": """\
filer [options] [FILE ...]
filer --check [--format json] FILE ...""",
    "filer-keyserver": """\
filer-keyserver [--dir DIR] [--address IP]... [--port PORT] [--days N] [--client-ca FILE]
filer-keyserver renew [--dir DIR] [--address IP]... [--client] [--days N]
filer-keyserver list [--dir DIR] [--address IP]...
filer-keyserver destroy [--dir DIR] [--address IP]... [--yes] KEY...""",
    "filer-qualify": """\
filer-qualify [options] --certs DIR IP...
filer-qualify cleanup [--certs DIR] [--yes-this-is-my-server] LEDGER
filer-qualify --explain [CHECK]""",
    "filer-shelf": """\
filer-shelf [--root DIR] list
filer-shelf [--root DIR] pull DISK
filer-shelf [--root DIR] insert BAY [DRIVE]
filer-shelf [--root DIR] fail DISK
filer-shelf [--root DIR] lock-out DISK""",
    "filer-storm": """\
filer-storm [options] --certs DIR IP...
filer-storm [options] --certs DIR --worker HOST
filer-storm cleanup [--certs DIR] [--yes-this-is-my-server] LEDGER""",
}


@every_page
def test_the_synopsis_of_a_page_is_plain_text_a_line_a_usage(name: str) -> None:
    assert synopsis(PAGES[name]) == SYNOPSES[name].splitlines()


@pytest.mark.parametrize("name", ["na_key_manager", "na_keymgr", "na_disk"])
def test_every_usage_of_a_command_has_its_own_part_of_the_page(name: str) -> None:
    text = render(PAGES[name], 200)
    for usage in synopsis(PAGES[name]):
        assert f"\n   {usage}\n" in text


@every_page
def test_the_summary_of_a_page_says_what_it_is_about(name: str) -> None:
    summary = manpages.summary(PAGES[name])
    assert summary
    assert f" - {summary}\n" in render(PAGES[name], 200)


def test_the_page_of_key_manager_has_all_sections_of_the_original() -> None:
    lines = render(PAGES["na_key_manager"], 80).splitlines()
    original = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "USAGE",
        "CERTIFICATES",
        "KEYTABLE",
        "LIMITATIONS",
        "SEE ALSO",
        "BUGS",
    ]
    assert [line for line in lines if line in original] == original


@pytest.mark.parametrize(
    "text",
    [
        "Key server 127.0.0.2 is responding.",
        "Key server 127.0.0.3 is not responding: connection refused.",
        "key_manager: Storage Encryption is not enabled on this system",
        'key_manager: "name" is not an IP address; key servers cannot be named by DNS',
        "key_manager: a maximum of four key servers can be registered",
        "key_manager: a maximum of four key servers can be removed",
        "key_manager: key server ipaddr is not registered",
        'key_manager: file is not installed; use "keymgr install cert /path/file"',
        "No key servers are registered.",
        "key_manager: the limit of 128 key pairs is reached",
        'kept: keyid, in use by n disks, on no key server; run "key_manager rekey"',
        "At least one key server must be defined.",
        "Keytable: 14 key pairs, 2 added, 1 removed.",
    ],
)
def test_the_page_of_key_manager_quotes_what_the_console_says(text: str) -> None:
    assert f" {text}" in render(PAGES["na_key_manager"], 10_000)


def test_the_page_of_filer_shows_filer_toml_as_it_is_written() -> None:
    from filer.config import DEFAULT_TEXT

    shown = {line.strip() for line in render(PAGES["filer"], 80).splitlines()}
    written = [line.partition("#")[0].rstrip() for line in DEFAULT_TEXT.splitlines()]
    assert [line for line in written if line and line not in shown] == []


# Finding pages.


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("key_manager", "na_key_manager"),
        ("na_key_manager", "na_key_manager"),
        ("disk", "na_disk"),
        ("keymgr", "na_keymgr"),
        ("filer", "filer"),
        ("filer-keyserver", "filer-keyserver"),
        ("filer-qualify", "filer-qualify"),
        ("filer-shelf", "filer-shelf"),
        ("filer-storm", "filer-storm"),
    ],
)
def test_a_page_is_found_with_and_without_its_prefix(name: str, page: str) -> None:
    found = find(name)
    assert found is not None
    assert (found.name, found.source) == (page, PAGES[page])
    assert name in names()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hostname",
        "KEY_MANAGER",
        "na_na_disk",
        "filer.1",
        "../man/filer",
        "a" * 300,
        "/etc/passwd",
        "__init__",
        "*",
        "filer\0",
        "\x1b[31m",
        "fil\N{LATIN SMALL LETTER E WITH ACUTE}r",
    ],
)
def test_what_names_no_page_finds_none(name: str) -> None:
    assert find(name) is None


def test_plug_ins_add_pages_but_take_none_away(tmp_path: Path) -> None:
    (tmp_path / "na_snap.1").write_text(HEAD)
    (tmp_path / "filer.1").write_text(HEAD)
    found = find("snap", [tmp_path])
    assert found is not None
    assert found.name == "na_snap"
    assert {"snap", "na_snap", "key_manager"} <= set(names([tmp_path]))
    filer = find("filer", [tmp_path, "man"])
    assert filer is not None
    assert filer.source == PAGES["filer"]


# Reading man(7).


@every_page
@pytest.mark.parametrize("width", [58, 60, 72, 80, 100, 120])
def test_a_page_reads_as_mandoc_prints_it(name: str, width: int) -> None:
    assert render(PAGES[name], width) == by_mandoc(PAGES[name], width)


WORDS = [
    "key", "self-encrypting", "a", "disk.", "(so.)", "why?", '"quoted."', "yes!)", "on-", "-off",
    r"\-key_server", r"\fBbold\fR", r"\fIit-al\fP,", r"e.g.\&", r"don\(aqt", r"a\ fixed\ blank",
    r"\e", r"\&.SH", r"\(dqx\(dq", r"\(ti\(ha\(ga", "x" * 30, "_" * 70, "very-" * 14 + "long",
]  # fmt: skip
ARGUMENTS = [word for word in WORDS if not re.search(r'[ "]|\\f', word)] + ['" , "', '"a  b."']
FONTS = ["B", "I", "BR", "RB", "IR", "RI", "BI", "IB"]


class Author:
    """Writes pages of random text with every allowed macro, escape and special case."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def page(self) -> str:
        lines = [HEAD.rstrip()]
        for _ in range(self._random.randint(1, 3)):
            lines.append(self._one_of([".SH DESCRIPTION", '.SH "SEE ALSO"', ".SH A B"]))
            lines += self._paragraphs(0)
            for _ in range(self._random.randint(0, 2)):
                lines.append(self._one_of([".SS key_manager add", ".SS " + "heading " * 20]))
                lines += self._paragraphs(0)
        return "\n".join(lines) + "\n"

    def _one_of(self, choices: list[str]) -> str:
        return self._random.choice(choices)

    def _words(self, choices: list[str], most: int) -> str:
        return " ".join(self._one_of(choices) for _ in range(self._random.randint(1, most)))

    def _line(self) -> str:
        if self._random.random() < 0.6:
            return self._words(WORDS, 9)
        return f".{self._one_of(FONTS)} {self._words(ARGUMENTS, 5)} {self._one_of(['.', 'end'])}"

    def _some_lines(self) -> list[str]:
        return [self._line() for _ in range(self._random.randint(1, 4))]

    def _paragraphs(self, depth: int) -> Iterator[str]:
        if self._random.random() < 0.5:
            yield from self._some_lines()
        for _ in range(self._random.randint(1, 5)):
            yield from self._random.choice(
                [self._plain, self._tagged, self._item, self._example, self._broken, self._indented]
            )(depth)

    def _plain(self, _depth: int) -> Iterator[str]:
        yield from (".PP", *self._some_lines())

    def _tagged(self, _depth: int) -> Iterator[str]:
        yield self._one_of([".TP", ".TP 4", ".TP 10n"])
        yield self._line()
        if self._random.random() < 0.2:
            yield ".br"
        yield from self._some_lines()

    def _item(self, _depth: int) -> Iterator[str]:
        yield self._one_of([".IP", r".IP \(bu 2", ".IP 1. 4", r".IP \(bu", ".IP tag-that-is-long"])
        yield from self._some_lines()

    def _example(self, _depth: int) -> Iterator[str]:
        begin, end = self._random.choice([(".nf", ".fi"), (".EX", ".EE")])
        yield from (begin, *self._some_lines(), "  " + self._words(WORDS, 20), "", self._line())
        yield from (end, *self._some_lines())

    def _broken(self, _depth: int) -> Iterator[str]:
        yield from (self._line(), ".br", r".\" a comment", ".", r"more \" and another")
        yield self._one_of([r"\&", "  " + self._words(WORDS, 20)])

    def _indented(self, depth: int) -> Iterator[str]:
        if depth < 3:
            yield self._one_of([".RS", ".RS 4"])
            yield from self._paragraphs(depth + 1)
            yield ".RE"
            yield from self._some_lines()


@pytest.mark.parametrize("seed", range(40))
def test_any_page_in_the_macros_known_reads_as_mandoc_prints_it(seed: int) -> None:
    source = Author(seed).page()
    width = random.Random(seed).randint(58, 140)
    assert render(source, width) == by_mandoc(source, width)


def test_headings_fonts_and_examples_are_kept_in_fragments() -> None:
    source = (
        f"{HEAD}.SH SEE ALSO\n.BR filer (1)\nand \\fIso\\fR on.\n.PP\n.EX\nan \\fIe\\fRg\n.EE\n"
    )
    lines = render_fragments(source, 80)
    assert [(HEADING, "SEE ALSO")] in lines
    assert [("", "       "), (EXAMPLE, "an "), ("italic", "e"), (EXAMPLE, "g")] in lines
    assert [
        ("", "       "),
        ("bold", "filer"),
        ("", "(1) and "),
        ("italic", "so"),
        ("", " on."),
    ] in lines
    assert {style for line in lines for style, _ in line} == {
        "",
        "bold",
        "italic",
        HEADING,
        EXAMPLE,
    }


@every_page
def test_fragments_joined_are_the_plain_text(name: str) -> None:
    fragments = render_fragments(PAGES[name], 80)
    assert "".join("".join(text for _, text in line) + "\n" for line in fragments) == render(
        PAGES[name], 80
    )


@every_page
@pytest.mark.parametrize("width", [1, 20, 40])
def test_a_narrow_page_loses_no_word(name: str, width: int) -> None:
    def squeezed(text: str) -> str:
        return "".join("".join(text.splitlines()[1:-1]).split())

    assert squeezed(render(PAGES[name], width)) == squeezed(render(PAGES[name], 80))


@pytest.mark.parametrize("width", [58, 80])
def test_only_examples_and_long_words_are_wider_than_the_page(width: int) -> None:
    for source in PAGES.values():
        for line in render(source, width).splitlines():
            if len(line) > width:
                assert len(line.split()[0]) + 7 > width or line in render(source, 1000)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (".XX", "unknown macro .XX"),
        (".UR http://example.org", "unknown macro .UR"),
        ("'br", "unknown macro 'br"),
        (". B x", "unknown macro ."),
        (r"a \(co b", r"unknown escape \(co"),
        ("ends in \\", "unknown escape \\"),
        (r"\fQx", r"unknown escape \fQ"),
        (r"\fBnot ended", "a font is not ended on its line"),
        (".B", ".B without text"),
        ('.IP ""', ".IP with an empty argument"),
        ('.B "x "', ".B with a blank at the end"),
        (".PP x", ".PP with 1 arguments"),
        (".TP wide", 'not a number of columns: "wide"'),
        (".TP\n.PP", ".PP where .TP wants its tag"),
        (".RE", ".RE without .RS"),
        (".RS\n.SH X", "heading between .RS and .RE"),
        (".nf\n.PP", "paragraph between .nf and .fi"),
        (".TH A 1 2026-11-24 b c", ".TH again"),
        (
            "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
            'not printable ASCII: "caf\N{LATIN SMALL LETTER E WITH ACUTE}"',
        ),
        ("\x1b[2J", r'not printable ASCII: "\x1b[2J"'),
    ],
)
def test_what_is_not_known_is_an_error_that_names_its_line(source: str, complaint: str) -> None:
    with pytest.raises(ManualPageError) as error:
        render(f"{HEAD}.SH TEXT\n{source}\n", 80)
    number = 4 + len(source.splitlines())
    assert str(error.value) == f"manual page, line {number}: {complaint}"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("", "manual page without .TH"),
        ("text", "manual page, line 1: text before .TH"),
        (f"{HEAD}.RS\nx\n", "manual page ends after .RS"),
        (f"{HEAD}.PP\nx\n.TP\n", "manual page ends after .TP"),
    ],
)
def test_a_page_without_beginning_or_end_is_an_error(source: str, complaint: str) -> None:
    with pytest.raises(ManualPageError) as error:
        render(source, 80)
    assert str(error.value) == complaint


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.text(alphabet=r""".'\"BRIFPSHTEN(aq&-fe 0z""", max_size=20),
            st.sampled_from([".TP", ".RS", ".RE", ".nf", ".fi", ".PP", ".SH X", ".IP x 4", ".br"]),
        )
    ),
    st.integers(-5, 200),
)
def test_any_page_is_rendered_or_refused(lines: list[str], width: int) -> None:
    try:
        text = render(HEAD + "\n".join(lines), width)
    except ManualPageError as refusal:
        text = str(refusal)
    assert all(line.isprintable() for line in text.splitlines())


def test_a_sentence_is_followed_by_two_blanks_and_an_abbreviation_by_one() -> None:
    assert body("One.\nTwo (so.)\nThree, e.g.\\&\nfour.\n") == (
        "       One.  Two (so.)  Three, e.g. four."
    )


def test_a_line_is_broken_after_a_hyphen_between_letters_only() -> None:
    filler = "x" * 50
    assert body(f"{filler} self-encrypting", 67).splitlines()[0].endswith(" self-")
    assert body(f"{filler} key-0encrypting", 67).splitlines()[0].endswith("x")
    assert body(f"{filler} self\\-encrypting", 67).splitlines()[0].endswith("x")


# What it costs.


def test_reading_pages_imports_nothing_heavy() -> None:
    program = "import sys, filer.shell.manual.pages; print(*sys.modules)"
    loaded = set(run(sys.executable, "-c", program, PYTHONPATH=str(DIRECTORY.parent)).split())
    assert not loaded & {"pygments", "prompt_toolkit", "kmip", "cryptography", "tempfile"}
