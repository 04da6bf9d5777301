import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.shell.line import words as language
from filer.shell.line.words import LanguageError, LogicalLine, continues, cursor_words, quote, split
from tests.kit.steps import steps_of

SPECIAL_TEXT = st.text(st.sampled_from("ab '\"\\#;\n\t-$`"), max_size=12)
ONE_LINE = st.text(st.characters(exclude_characters="\n"))


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("", []),
        (" \t ", []),
        ("key_manager show", [["key_manager", "show"]]),
        ("  date\t; uptime;", [["date"], ["uptime"]]),
        ("date;;uptime ; ;", [["date"], ["uptime"]]),
        ("date\r", [["date"]]),
        ("# nothing", []),
        ("date # now", [["date"]]),
        ("date;# now", [["date"]]),
        ("rdfile a#b", [["rdfile", "a#b"]]),
        ("rdfile '#a' \\#b", [["rdfile", "#a", "#b"]]),
        ("logger 'a; b' c\\;d", [["logger", "a; b", "c;d"]]),
        ("logger '' \"\"", [["logger", "", ""]]),
        ("logger a' b'\"c \"d", [["logger", "a bc d"]]),
        (r"logger 'a\' \' a\ b", [["logger", "a\\", "'", "a b"]]),
        (r'logger "\"\\\$\`" "\a\ "', [["logger", '"\\$`', "\\a\\ "]]),
        ("disk encrypt lock 0c.00.*", [["disk", "encrypt", "lock", "0c.00.*"]]),
        ("date\nuptime", [["date"], ["uptime"]]),
        ("date # now\nuptime", [["date"], ["uptime"]]),
        ("host\\\nname", [["hostname"]]),
        ("logger a \\\n b", [["logger", "a", "b"]]),
        ("logger a \\\n# b", [["logger", "a"]]),
        ("logger a\\", [["logger", "a\\"]]),
    ],
)
def test_a_line_falls_into_commands_and_words(line: str, commands: list[list[str]]) -> None:
    assert split(line) == commands


@pytest.mark.parametrize(
    ("line", "position"),
    [("date 'x", 5), ('date; logger "x\\"', 13), ("'", 0), ("logger 'a\nb'", 7), ('"a\\\nb"', 0)],
)
def test_a_quote_that_is_not_closed_on_its_line_is_an_error_at_the_quote(
    line: str, position: int
) -> None:
    with pytest.raises(LanguageError) as error:
        split(line)
    assert str(error.value) == "unclosed quote"
    assert error.value.position == position


def test_a_word_knows_where_it_was_typed_and_whether_it_was_quoted() -> None:
    line = "logger 'a b'c  plain; x\\ y"
    words = [word for command in split(line) for word in command]
    assert [line[word.start : word.end] for word in words] == [
        "logger",
        "'a b'c",
        "plain",
        "x\\ y",
    ]
    assert [word.quoted for word in words] == [False, True, False, True]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("date \\", True),
        ("dat\\", True),
        ("\\", True),
        ("date \\\\", False),
        ("date \\\\\\", True),
        ("date # \\", False),
        ("date '\\", False),
        ('date "\\', False),
        ("date '\nuptime \\", False),
        ("date '' \\", True),
        ("date \\ ", False),
        ("date", False),
    ],
)
def test_a_trailing_backslash_outside_quotes_and_comments_continues_the_line(
    line: str, expected: bool
) -> None:
    assert continues(line) is expected


@pytest.mark.parametrize(
    ("text", "words", "prefix", "start"),
    [
        ("", [], "", 0),
        ("key_ma", [], "key_ma", 0),
        ("key_manager ", ["key_manager"], "", 12),
        ("date; key_manager re", ["key_manager"], "re", 18),
        ("date;", [], "", 5),
        ("rdfile 'a b", ["rdfile"], "a b", 7),
        ('rdfile a" b', ["rdfile"], "a b", 7),
        ('rdfile "a b"', ["rdfile"], "a b", 7),
        ("rdfile a\\ b", ["rdfile"], "a b", 7),
        ("rdfile a\\\nb", ["rdfile"], "ab", 7),
        ("rdfile '", ["rdfile"], "", 7),
    ],
)
def test_completion_sees_the_words_before_the_cursor_and_the_one_under_it(
    text: str, words: list[str], prefix: str, start: int
) -> None:
    assert cursor_words(text) == (words, prefix, start)


@pytest.mark.parametrize("text", ["#", "date # no", "date;#"])
def test_there_is_nothing_to_complete_in_a_comment(text: str) -> None:
    assert cursor_words(text) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("0c.00.*", "0c.00.*"),
        ("a#b", "a#b"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", r"'it'\''s'"),
        ("#1", "'#1'"),
        ("-tag", "'-tag'"),
    ],
)
def test_a_word_is_written_in_quotes_only_if_it_needs_them(text: str, written: str) -> None:
    assert quote(text) == written


def test_a_word_with_a_line_end_cannot_be_written() -> None:
    with pytest.raises(LanguageError):
        quote("a\nb")


@given(st.lists(st.lists(ONE_LINE, min_size=1), max_size=4))
def test_words_that_were_quoted_read_back(commands: list[list[str]]) -> None:
    line = ";".join(" ".join(map(quote, command)) for command in commands)
    assert split(line) == commands


@given(ONE_LINE)
def test_a_leading_dash_reads_back_as_quoted(text: str) -> None:
    [[word]] = split(quote("-" + text))
    assert word.quoted


@given(st.lists(ONE_LINE, min_size=1))
def test_what_shlex_quotes_reads_back(words: list[str]) -> None:
    assert split(shlex.join(words)) == [words]


@given(st.text() | SPECIAL_TEXT)
def test_any_text_is_words_or_an_unclosed_quote(text: str) -> None:
    continues(text)
    cursor_words(text)
    try:
        commands = split(text)
    except LanguageError as error:
        assert text[error.position] in "'\""  # noqa: PT017
        return
    end = 0
    for command in commands:
        assert command
        for word in command:
            assert end <= word.start < word.end <= len(text)
            assert word.quoted or word == text[word.start : word.end].replace("\\\n", "")
            end = word.end


@given(st.text() | SPECIAL_TEXT)
def test_completion_reads_a_text_as_the_split_does(text: str) -> None:
    cursor = cursor_words(text)
    try:
        commands = split(text)
    except LanguageError:
        return
    if cursor is not None and (cursor.words or cursor.prefix):
        under = [cursor.prefix] if cursor.start < len(text) else []
        assert commands[-1] == cursor.words + under


@given(st.text() | SPECIAL_TEXT)
def test_an_open_quote_is_read_for_completion_as_if_it_were_closed(text: str) -> None:
    try:
        split(text)
    except LanguageError as error:
        mark = text[error.position]
        if "\n" in text[error.position :] or text.endswith("\\"):
            return
        cursor = cursor_words(text)
        assert cursor is not None
        assert [*cursor.words, cursor.prefix] == split(text + mark)[-1]


# Unsupported syntax: expansions, operators, and quotes across lines.
SH_TEXT = st.text(st.sampled_from("ab '\"\\#\t-"), max_size=12).filter(
    lambda text: not text.endswith("\\")
)


def test_words_are_those_of_sh() -> None:
    lines: list[str] = []

    @given(SH_TEXT)
    def collect(text: str) -> None:
        try:
            split(text)
        except LanguageError:
            return
        lines.append(text)

    collect()
    script = "".join(f"set -- {line}\nprintf '<%s>' \"$@\"; echo .\n" for line in lines)
    out = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout
    *outputs, rest = out.split(".\n")
    assert lines
    assert not rest
    for line, words in zip(lines, outputs, strict=True):
        mine: list[str] = [word for command in split(line) for word in command]
        assert words == "".join(f"<{word}>" for word in mine or [""])


@given(
    st.lists(st.text(alphabet="a#'\" ;\\", max_size=6).map(lambda text: f"{text}\\"), max_size=5)
)
def test_lines_that_are_joined_continue_as_their_whole_does(lines: list[str]) -> None:
    logical = LogicalLine()
    whole = ""
    for number, line in enumerate(lines):
        whole = f"{whole}\n{line}" if number else line
        goes_on = logical.add(line)
        assert goes_on is continues(whole)
        assert str(logical) == whole
        if not goes_on:
            return


def test_each_of_many_joined_lines_is_read_once() -> None:
    def join(number: int) -> None:
        logical = LogicalLine()
        for each in range(number):
            assert logical.add(f"word{each} an\\")

    assert steps_of(lambda: join(2000), language) < 5 * steps_of(lambda: join(500), language)
