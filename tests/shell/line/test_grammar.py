import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filer.shell.line.grammar import Grammar, UsageError
from filer.shell.line.synopsis import Expectation, Kind
from filer.shell.line.words import split

KEY_MANAGER = (
    "key_manager setup",
    "key_manager add ( -key_server ipaddr )+",
    "key_manager remove ( -key_server ipaddr )+",
    "key_manager show",
    "key_manager status ( -key_server ipaddr )*",
    "key_manager query ( -key_server ipaddr )*",
    "key_manager rekey [ -manual ] [ -key_tag tag ]",
    "key_manager restore -all [ -key_tag tag ]",
    "key_manager restore -key_server ipaddr [ -key_tag tag ]",
)
DISK = (
    "disk show",
    "disk encrypt show [ disk_list ]",
    "disk encrypt lock disk_list",
    "disk encrypt rekey new_key_id disk_list",
    "disk encrypt sanitize { -all | disk_list }",
    "disk encrypt destroy disk_list",
)
GRAMMARS = {
    "key_manager": Grammar.compile(KEY_MANAGER, {"ipaddr", "tag"}),
    "disk": Grammar.compile(DISK, {"disk_list", "new_key_id"}),
    "keymgr": Grammar.compile(
        ["keymgr install cert PATH", "keymgr list cert", "keymgr delete cert NAME"],
        {"PATH", "NAME"},
    ),
    "priv": Grammar.compile(["priv set { admin | advanced }"]),
    "options": Grammar.compile(["options [ name [ value ] ]"], {"name", "value"}),
    "help": Grammar.compile(["help [ command ]"], {"command"}),
    "logger": Grammar.compile(["logger TEXT"], {"TEXT"}),
    "date": Grammar.compile(["date"]),
}


def refusal(line: str) -> UsageError:
    [words] = split(line)
    with pytest.raises(UsageError) as error:
        GRAMMARS[words[0]].parse(words)
    return error.value


def given_values(line: str) -> dict[str, tuple[str, ...]]:
    [words] = split(line)
    values = GRAMMARS[words[0]].parse(words).values
    return {name: given for name, given in values.items() if given}


# What a line says.


def test_a_line_tells_its_subcommand_options_and_values() -> None:
    [words] = split("key_manager restore -key_server 10.0.0.1 -key_tag t")
    parse = GRAMMARS["key_manager"].parse(words)
    assert parse.line == "key_manager restore -key_server ipaddr [ -key_tag tag ]"
    assert parse.subcommand == ("restore",)
    assert parse.options == {"-key_server", "-key_tag"}
    assert parse.values == {"ipaddr": ("10.0.0.1",), "tag": ("t",)}


def test_a_variable_that_was_not_given_has_no_words() -> None:
    assert GRAMMARS["key_manager"].parse(["key_manager", "show"]).values == {
        "ipaddr": (),
        "tag": (),
    }


def test_a_subcommand_may_have_several_words() -> None:
    parse = GRAMMARS["disk"].parse(["disk", "encrypt", "rekey", "0x0", "a", "b"])
    assert parse.subcommand == ("encrypt", "rekey")
    assert parse.values == {"new_key_id": ("0x0",), "disk_list": ("a", "b")}


def test_the_literal_that_was_chosen_is_among_the_options() -> None:
    parse = GRAMMARS["priv"].parse(["priv", "set", "advanced"])
    assert parse.subcommand == ("set",)
    assert parse.options == {"advanced"}


def test_values_keep_the_order_in_which_they_were_given() -> None:
    line = "key_manager add -key_server c -key_server a -key_server b"
    assert given_values(line) == {"ipaddr": ("c", "a", "b")}


@pytest.mark.parametrize(
    "line",
    [
        "key_manager rekey -manual -key_tag t",
        "key_manager rekey -key_tag t -manual",
        "key_manager restore -all -key_tag t",
        "key_manager restore -key_tag t -all",
        "key_manager restore -key_tag t -key_server a",
    ],
)
def test_options_may_be_given_in_any_order(line: str) -> None:
    assert given_values(line)["tag"] == ("t",)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("options", {}),
        ("options a", {"name": ("a",)}),
        ("options a b", {"name": ("a",), "value": ("b",)}),
        ("logger a -all b", {"TEXT": ("a", "-all", "b")}),
        ("disk encrypt show", {}),
        ("disk encrypt sanitize a b", {"disk_list": ("a", "b")}),
        ("help ''", {"command": ("",)}),
        ("help -", {"command": ("-",)}),
    ],
)
def test_values_go_to_their_variables(line: str, values: dict[str, tuple[str, ...]]) -> None:
    assert given_values(line) == values


def test_a_quoted_word_may_be_a_value_in_spite_of_its_dash() -> None:
    line = "key_manager restore -key_tag '-all' -all"
    assert given_values(line) == {"tag": ("-all",)}
    assert type(given_values(line)["tag"][0]) is str


def test_a_literal_is_preferred_to_a_variable() -> None:
    grammar = Grammar.compile(["at NAME", "at list [ -all ]"], {"NAME"})
    assert grammar.parse(["at", "list"]).line == "at list [ -all ]"
    assert grammar.parse(["at", "other"]).line == "at NAME"


def test_an_option_takes_along_the_variables_and_choices_after_it() -> None:
    grammar = Grammar.compile(
        ["x [ -t ] -mode { a | b } NAME { -u | -v } [ LAST ]"], {"NAME", "LAST"}
    )
    for line in ("x -t -mode a n -u", "x -u -mode b n -t l", "x -mode a n -v -t"):
        assert grammar.parse(line.split()).values["NAME"] == ("n",)
    assert grammar.check(["x", "-mode", "-t", "a", "n", "-u"]).wrong == 2
    assert grammar.check(["x", "-mode", "a", "-u", "n"]).wrong == 3
    assert grammar.check(["x", "-u", "-v", "-mode", "a", "n"]).wrong == 2


@pytest.mark.parametrize("synopsis", ["x ( [ a ] )+", "x { [ -a ] | -b }", "x { [ a ] | b }"])
def test_a_choice_or_repeat_of_what_may_be_left_out_may_be_left_out(synopsis: str) -> None:
    assert Grammar.compile([synopsis]).parse(["x"]).line == synopsis


# What is refused, and how.

ALL = KEY_MANAGER
RESTORE = KEY_MANAGER[7:]
SUBCOMMANDS = "setup, add, remove, show, status, query, rekey or restore"


@pytest.mark.parametrize(
    ("line", "message", "usage"),
    [
        (
            "key_manager add -key_servr 1.2.3.4",
            'key_manager: word 3: unexpected "-key_servr"; did you mean "-key_server"?',
            KEY_MANAGER[1:2],
        ),
        ("key_manager restore", "key_manager: incomplete; expected -all or -key_server", RESTORE),
        (
            "key_manager restore -all -key_server",
            'key_manager: word 4: unexpected "-key_server"; expected -key_tag or end of line',
            RESTORE,
        ),
        (
            "key_manager restore -key_tag t",
            "key_manager: incomplete; expected -all or -key_server",
            RESTORE,
        ),
        (
            "key_manager restore x",
            'key_manager: word 3: unexpected "x"; expected -all, -key_tag or -key_server',
            RESTORE,
        ),
        (
            "key_manager restore -key_tag -all",
            'key_manager: word 4: unexpected "-all"; expected tag',
            RESTORE,
        ),
        (
            "key_manager rekey -manual -manual",
            'key_manager: word 4: unexpected "-manual"; expected -key_tag or end of line',
            KEY_MANAGER[6:7],
        ),
        ("key_manager", f"key_manager: incomplete; expected {SUBCOMMANDS}", ALL),
        ("key_manager x", f'key_manager: word 2: unexpected "x"; expected {SUBCOMMANDS}', ALL),
        ("key_manager Add", 'key_manager: word 2: unexpected "Add"; did you mean "add"?', ALL),
        (
            "key_manager add",
            "key_manager: incomplete; expected -key_server",
            KEY_MANAGER[1:2],
        ),
        (
            "key_manager add -key_server 1.2.3.4 -key_server",
            "key_manager: incomplete; expected ipaddr",
            KEY_MANAGER[1:2],
        ),
        (
            "key_manager show all",
            'key_manager: word 3: unexpected "all"; expected end of line',
            KEY_MANAGER[3:4],
        ),
        (
            "key_manager status -key_server=1.2.3.4",
            'key_manager: word 3: unexpected "-key_server=1.2.3.4"; did you mean "-key_server"?',
            KEY_MANAGER[4:5],
        ),
        (
            "disk encrypt sanitize",
            "disk: incomplete; expected -all or disk_list",
            DISK[4:5],
        ),
        (
            "disk encrypt sanitize -all a",
            'disk: word 5: unexpected "a"; expected end of line',
            DISK[4:5],
        ),
        (
            "disk encrypt rekey 0x0",
            "disk: incomplete; expected disk_list",
            DISK[3:4],
        ),
        (
            "disk encrypt",
            "disk: incomplete; expected show, lock, rekey, sanitize or destroy",
            DISK,
        ),
        (
            "key_manager rekey -tag",
            'key_manager: word 3: unexpected "-tag"; expected -manual, -key_tag or end of line',
            KEY_MANAGER[6:7],
        ),
        ("date -u", 'date: word 2: unexpected "-u"; expected end of line', ("date",)),
        ("logger", "logger: incomplete; expected TEXT", ("logger TEXT",)),
        (
            "help a '\x1b[2J'",
            'help: word 3: unexpected "\\x1b[2J"; expected end of line',
            ("help [ command ]",),
        ),
    ],
)
def test_a_refusal_names_the_word_and_what_was_expected(
    line: str, message: str, usage: tuple[str, ...]
) -> None:
    error = refusal(line)
    assert str(error) == message
    assert error.usage == usage


def test_a_word_that_is_valid_elsewhere_is_not_taken_for_a_typo() -> None:
    grammar = Grammar.compile(["x a [ -up ]", "x b [ -ups ]"])
    with pytest.raises(UsageError, match="expected -up or end of line"):
        grammar.parse(["x", "a", "-ups"])


def test_only_what_is_missing_is_named_in_an_incomplete_line() -> None:
    grammar = Grammar.compile(["x [ -a ] [ list ] NAME"], {"NAME"})
    with pytest.raises(UsageError, match=r"^x: incomplete; expected NAME$"):
        grammar.parse(["x"])


def test_no_words_at_all_are_incomplete() -> None:
    with pytest.raises(UsageError, match=r"^date: incomplete; expected date$"):
        GRAMMARS["date"].parse([])


@pytest.mark.parametrize(
    ("synopsis", "variables", "reason"),
    [
        ("( a )+", [], "does not begin with the name of a command"),
        ("", [], "does not begin with the name of a command"),
        ("x [ a", [], r'"\[" is not closed by "end of line"'),
        ("x [ a )+", [], r'"\[" is not closed by "\)\+"'),
        ("x ( a )", [], r'"\(" is not closed by "\)"'),
        ("x [ ]", [], "something is missing"),
        ("x { a | }", [], "something is missing"),
        ("x [ a ] ]", [], r'unexpected "\]"'),
        ("x a | b", [], "something is missing|unexpected"),
        ("x tag", ["tga"], "missing in the synopsis: tga"),
    ],
)
def test_a_wrong_synopsis_is_refused(synopsis: str, variables: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Grammar.compile([synopsis], variables)


def test_a_command_without_synopsis_is_refused() -> None:
    with pytest.raises(ValueError, match="missing in the synopsis: all"):
        Grammar.compile([])


# What completion and colouring ask.


def test_completion_learns_what_may_come_next() -> None:
    assert GRAMMARS["key_manager"].expected(["key_manager", "rekey", "-manual"]) == (
        Expectation("-key_tag", Kind.OPTION),
        Expectation("end of line", Kind.END),
    )
    assert GRAMMARS["disk"].expected(["disk", "encrypt", "lock"]) == (
        Expectation("disk_list", Kind.VARIABLE),
    )
    assert GRAMMARS["disk"].expected(["disk"]) == (
        Expectation("show", Kind.SUBCOMMAND),
        Expectation("encrypt", Kind.SUBCOMMAND),
    )
    assert GRAMMARS["date"].expected([]) == (Expectation("date", Kind.COMMAND),)


def test_nothing_completes_a_wrong_line() -> None:
    assert GRAMMARS["key_manager"].expected(["key_manager", "x"]) == ()


def test_colouring_learns_the_kind_of_each_word() -> None:
    words = ["key_manager", "restore", "-key_server", "1.2.3.4", "-all", "x"]
    assert GRAMMARS["key_manager"].check(words) == (
        4,
        (Kind.COMMAND, Kind.SUBCOMMAND, Kind.OPTION, Kind.VARIABLE),
    )
    assert GRAMMARS["key_manager"].check(words[:3]).wrong is None


# Any grammar, and any sentence of it.

UNTIMED = settings(deadline=None)  # A long sentence may be slow on a busy machine.


@dataclass(frozen=True)
class Part:
    """A part of a SYNOPSIS line, and words that it allows.

    ``units`` are the words in groups; if ``option``, each may be anywhere in its run of options.
    """

    text: str
    units: list[list[str]]
    option: bool = False
    nullable: bool = False
    takes_next: bool = False


@dataclass(frozen=True)
class Sentence:
    """Words, a grammar that allows them, and which of them are literals."""

    grammar: Grammar
    line: str
    words: list[str]


def words_of(parts: Sequence[Part], shuffle: Callable[[list[list[str]]], None]) -> list[str]:
    words: list[str] = []
    for option, run in groupby(parts, lambda part: part.option):
        units = [unit for part in run for unit in part.units]
        if option:
            shuffle(units)
        words += [word for unit in units for word in unit]
    return words


def begins_with_option(parts: Sequence[Part]) -> bool:
    for part in parts:
        if not part.option:
            return False
        if not part.nullable:
            return True
    return True


class Writer:
    """Writes a SYNOPSIS line and a matching sentence, with different literals and variables."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.variables: list[str] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def variable(self) -> tuple[str, list[str]]:
        is_list = self.rng.random() < 0.2
        name = self.name("v") + ("_list" if is_list else "")
        self.variables.append(name)
        return name, [self.name("value") for _ in range(self.rng.randint(1, 3) if is_list else 1)]

    def part(self, depth: int) -> Part:
        kind = self.rng.choice(["literal", "variable", "option", "option"] + ["group"] * 4)
        if kind == "literal":
            literal = self.name("l")
            return Part(literal, [[literal]])
        if kind == "variable":
            name, words = self.variable()
            return Part(name, [words])
        if kind == "option" or depth == 0:
            option = self.name("-o")
            arguments = [self.variable() for _ in range(self.rng.randint(0, 2))]
            text = " ".join([option, *(name for name, _ in arguments)])
            words = [option, *(word for _, given in arguments for word in given)]
            return Part(text, [words], option=True, takes_next=True)
        return self.group(depth)

    def group(self, depth: int) -> Part:
        opening, closing, least, most = self.rng.choice(
            [("[", "]", 0, 1), ("(", ")*", 0, 2), ("(", ")+", 1, 2), ("{", "}", 1, 1)]
        )
        branches = [self.parts(depth - 1) for _ in range(self.rng.choice([1, 1, 2]))]
        nullable_body = any(all(part.nullable for part in parts) for parts in branches)
        units = [
            words_of(self.rng.choice(branches), self.rng.shuffle)
            for _ in range(self.rng.randint(least, most))
        ]
        return Part(
            f"{opening} {' | '.join(' '.join(p.text for p in parts) for parts in branches)} "
            f"{closing}",
            units,
            option=all(begins_with_option(parts) for parts in branches),
            nullable=least == 0 or nullable_body,
        )

    def parts(self, depth: int) -> list[Part]:
        parts: list[Part] = []
        for _ in range(self.rng.randint(1, 3)):
            part = self.part(depth)
            argument_like = not part.option and part.text.startswith(("v", "{"))
            if not (parts and parts[-1].takes_next and argument_like):
                parts.append(part)
        return parts


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    writer = Writer(draw(st.randoms(use_true_random=False)))
    lines: list[tuple[str, list[str]]] = []
    for _ in range(writer.rng.randint(1, 3)):
        head = ["command", *([writer.name("sub")] if writer.rng.random() < 0.7 else [])]
        parts = writer.parts(2)
        text = " ".join([*head, *(part.text for part in parts)])
        lines.append((text, [*head, *words_of(parts, writer.rng.shuffle)]))
    variables = [v for v in writer.variables if any(v in text.split() for text, _ in lines)]
    grammar = Grammar.compile([text for text, _ in lines], variables)
    line, words = writer.rng.choice(lines)
    return Sentence(grammar, line, words)


def offers(grammar: Grammar, before: Sequence[str], word: str) -> bool:
    expected = grammar.expected(before)
    if word.startswith("value"):
        return any(expectation.kind is Kind.VARIABLE for expectation in expected)
    return any(expectation.name == word for expectation in expected)


@UNTIMED
@given(sentences())
def test_every_sentence_parses(sentence: Sentence) -> None:
    parse = sentence.grammar.parse(sentence.words)
    values = [word for words in parse.values.values() for word in words]
    assert sorted(values) == sorted(w for w in sentence.words if w.startswith("value"))
    assert sentence.grammar.check(sentence.words).wrong is None


@UNTIMED
@given(sentences())
def test_every_prefix_of_a_sentence_offers_its_next_word(sentence: Sentence) -> None:
    for index, word in enumerate(sentence.words):
        assert offers(sentence.grammar, sentence.words[:index], word)
    assert Expectation("end of line", Kind.END) in sentence.grammar.expected(sentence.words)


@UNTIMED
@given(sentences(), st.data())
def test_every_change_to_an_unknown_word_is_refused_at_that_word(
    sentence: Sentence, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(sentence.words) - 1))
    before = sentence.words[:index]
    kinds = {expectation.kind for expectation in sentence.grammar.expected(before)}
    unknown = "-unknown" if Kind.VARIABLE in kinds else data.draw(st.sampled_from(["x", "-x", ""]))
    words = [*before, unknown, *sentence.words[index + 1 :]]
    assert sentence.grammar.check(words).wrong == index
    with pytest.raises(UsageError) as error:
        sentence.grammar.parse(words)
    assert str(error.value).startswith(f'{words[0]}: word {index + 1}: unexpected "{unknown}"; ')


@UNTIMED
@given(sentences(), st.data())
def test_an_option_given_twice_is_refused_unless_it_repeats(
    sentence: Sentence, data: st.DataObject
) -> None:
    flags = [w for w in sentence.words if w.startswith("-") and f" {w} " in f"{sentence.line} "]
    if not flags or "(" in sentence.line:
        return
    flag = data.draw(st.sampled_from(flags))
    index = sentence.words.index(flag)
    words = [*sentence.words[: index + 1], flag]
    assert sentence.grammar.check(words).wrong == index + 1


@UNTIMED
@given(sentences(), st.data())
def test_any_words_are_a_line_or_wrong_usage(sentence: Sentence, data: st.DataObject) -> None:
    known = st.sampled_from(sentence.words)
    words = data.draw(st.lists(known | st.text(max_size=4), max_size=8))
    check = sentence.grammar.check(words)
    assert len(check.kinds) == (len(words) if check.wrong is None else check.wrong)
    offered = sentence.grammar.expected(words)
    assert bool(offered) is (check.wrong is None)
    try:
        sentence.grammar.parse(words)
    except UsageError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert error.usage  # noqa: PT017
        assert Expectation("end of line", Kind.END) not in offered
    else:
        assert Expectation("end of line", Kind.END) in offered


def test_an_ambiguous_line_does_not_take_time_without_end() -> None:
    grammar = Grammar.compile(["x ( ( a_list )+ )+ end"], {"a_list"})
    assert grammar.check(["x", *["a"] * 2000]).wrong is None
