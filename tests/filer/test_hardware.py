"""filer.toml."""

import os
import re
import stat
import time
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from filer.config import DEFAULT_TEXT, MIB, Hardware, load, parse
from filer.host.durable import Storage, StorageError
from filer.host.toml_file import SIZE_LIMIT, ConfigError

ERROR = re.compile(r"filer\.toml:([1-9][0-9]*): .+")


def error_of(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert ERROR.fullmatch(str(error.value))
    assert str(error.value).isprintable()
    return str(error.value).removeprefix("filer.toml:")


def test_the_file_that_is_written_first_holds_the_defaults() -> None:
    assert parse(DEFAULT_TEXT) == parse("") == Hardware()


def test_the_file_that_is_written_first_names_every_setting() -> None:
    sections = tomllib.loads(DEFAULT_TEXT)
    named = [key for section in sections.values() for key in section]
    assert named == list(Hardware._fields)


def test_every_setting_is_read() -> None:
    text = """
    [boot]
    autoboot = true
    [system]
    hostname = "head-2_b"
    system_id = 0x080CF0C8
    partner_id = 0
    partner_hostname = "head-1"
    storage_encryption = false
    snaplock = true
    [kmip]
    port = 6001
    timeout = 2
    init_maxwait = 30
    expiry_warning_days = 7
    user = "storage"
    password_file = "kmip-password"
    [shelf]
    disks = 24
    disk_size = "2 GiB"
    directory = "../shelf"
    """
    assert parse(text) == Hardware(
        hostname="head-2_b",
        system_id=135065800,
        partner_id=0,
        partner_hostname="head-1",
        storage_encryption=False,
        snaplock=True,
        disks=24,
        disk_size=2048 * MIB,
        directory="../shelf",
        port=6001,
        timeout=2.0,
        init_maxwait=30.0,
        expiry_warning_days=7,
        user="storage",
        password_file="kmip-password",
        autoboot=True,
    )


def test_a_filer_that_has_the_name_of_its_partner_gets_another_partner() -> None:
    hardware = parse('[system]\nhostname = "filer2"\n')
    assert (hardware.hostname, hardware.partner_hostname) == ("filer2", "filer1")


def test_line_ends_and_a_byte_order_mark_of_another_system_are_no_matter() -> None:
    assert parse(b"\xef\xbb\xbf" + DEFAULT_TEXT.replace("\n", "\r\n").encode()) == Hardware()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[system]\nhostname = \n", "2: Invalid value"),
        ("[system\n", "1: Expected ']' at the end of a table declaration"),
        ("\n\n[kmip]\nport = 1\nport = 2\n", "5: Cannot overwrite a value"),
        ("\n\nport = [1,\n\n", "3: Invalid value"),
        (b"[system]\n# \xff\n", "2: not UTF-8"),
        ("[system]\n\ud800", "2: not UTF-8"),
        ("[boot]\nautoboot = " + "[" * 9000 + "\n[shelf]\n", "2: a value is too large"),
        ("[kmip]\n\nport = " + "1" * 5000 + "\n[shelf]\n", "3: a value is too large"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(text: str | bytes, error: str) -> None:
    assert error_of(text) == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '# hostname\n[system]\n# hostname\nhostname = "a b"\n',
            "4: hostname must be 1 to 63 letters, digits, hyphens and underscores",
        ),
        ("[system]\nsystem_id = 0\n", "2: system_id must be a whole number from 1 to 4294967039"),
        ("[system]\nsystem_id = true", "2: system_id must be a whole number from 1 to 4294967039"),
        ("[system]\npartner_id = -1", "2: partner_id must be a whole number from 0 to 4294967039"),
        (
            "[system]\nsystem_id = 0xFFFFFF00",
            "2: system_id must be a whole number from 1 to 4294967039",
        ),
        (
            "[system]\npartner_id = 0xFFFFFFFF",
            "2: partner_id must be a whole number from 0 to 4294967039",
        ),
        ("[kmip]\nuser = 1", "2: user must be at most 64 printable ASCII characters"),
        (
            '[system]\npartner_hostname = "a b"',
            "2: partner_hostname must be 1 to 63 letters, digits, hyphens and underscores",
        ),
        (
            '[system]\nhostname = "a"\npartner_hostname = "a"',
            "3: hostname and partner_hostname must differ",
        ),
        ('[kmip]\nuser = "ü"', "2: user must be at most 64 printable ASCII characters"),
        ('[kmip]\n\nuser = "u"', "3: user and password_file must be set together"),
        ('[kmip]\npassword_file = "f"', "2: user and password_file must be set together"),
        ("[system]\nsnaplock = 1", "2: snaplock must be true or false"),
        ('[system]\nsnaplock = "true"', "2: snaplock must be true or false"),
        ("[kmip]\nport = 65536\n[boot]", "2: port must be a whole number from 1 to 65535"),
        ("[kmip]\nport = 5696.0\n[boot]", "2: port must be a whole number from 1 to 65535"),
        (
            "[kmip]\nport = 1\ntimeout = 0\n",
            "3: timeout must be a number of seconds, more than 0 and up to 3600",
        ),
        (
            "[kmip]\ntimeout = nan\n",
            "2: timeout must be a number of seconds, more than 0 and up to 3600",
        ),
        (
            "[kmip]\ntimeout = false\n",
            "2: timeout must be a number of seconds, more than 0 and up to 3600",
        ),
        (
            "[kmip]\ninit_maxwait = inf\n",
            "2: init_maxwait must be a number of seconds, from 0 up to 86400",
        ),
        ("[shelf]\n\ndisks = 2\n", "3: disks must be a whole number from 3 to 2400"),
        ("[shelf]\n\ndisks = 9999\n", "3: disks must be a whole number from 3 to 2400"),
        (
            "[shelf]\ndisk_size = 64\n",
            '2: disk_size must be a size in KiB, MiB, GiB or TiB, such as "64 MiB"',
        ),
        (
            '[shelf]\ndisk_size = "64 MB"\n',
            '2: disk_size must be a size in KiB, MiB, GiB or TiB, such as "64 MiB"',
        ),
        (
            '[shelf]\ndisk_size = "1025 KiB"\n',
            "2: disk_size must be from 1 MiB to 8 TiB, in whole blocks of 4 KiB",
        ),
        (
            '[shelf]\ndisk_size = "9 TiB"\n',
            "2: disk_size must be from 1 MiB to 8 TiB, in whole blocks of 4 KiB",
        ),
        (
            "[system]\nsystem_id = 7\npartner_id = 7\n",
            "3: system_id and partner_id must differ",
        ),
        ("[system]\nsystem_id = 1573922311\n", "2: system_id and partner_id must differ"),
        ("system = 3\n", "1: system must be a section, [system]"),
        ("[[system]]\n", "1: system must be a section, [system]"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_line(text: str, error: str) -> None:
    assert error_of(text) == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\n[sytem]\n", '2: unknown section "sytem"; did you mean "system"?'),
        ("[nonsense]\n", '1: unknown section "nonsense"'),
        (
            "[system]\nsnaplock = false\nhostnme = 1\n",
            '3: unknown key "hostnme" in [system]; did you mean "hostname"?',
        ),
        ("[boot]\nx = 1\n", '2: unknown key "x" in [boot]'),
        ("[system]\n\nport = 1\n", '3: "port" belongs in the section [kmip]'),
        ("# no section\nport = 1\n", '2: "port" belongs in the section [kmip]'),
        ('[boot]\n"\\u001b[2J" = 1\n', '2: unknown key "\\x1b[2J" in [boot]'),
    ],
)
def test_an_unknown_name_is_refused_with_its_line(text: str, error: str) -> None:
    assert error_of(text) == error


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[boot]\n[kmip]\n'port' = 0\n", 3),
        ('[boot]\n[kmip]\n"p\\u006frt" = 0\n', 3),
        ("boot.autoboot = true\nkmip.port = 0\n", 2),
        ("boot = {autoboot = true}\nkmip = {timeout = 1, port = 0}\n", 2),
        ('[system]\nhostname = """\\\n  port = 0\n[kmip]"""\n[kmip]\nport = 0\n# port\n', 2),
        ('[system]\nhostname = """\\\n  host"""\n[kmip]\nport = [\n"port",\n]\n# port\n', 5),
        ('[system]\nhostname = """\\\n  port\\\n  """\n[kmip]\nport = 0\n', 6),
    ],
)
def test_the_line_is_right_in_every_notation(text: str, line: int) -> None:
    assert error_of(text).startswith(f"{line}: ")


@given(st.text() | st.binary())
@example("[" * 10_000)
@example("a=" + "{a=" * 10_000)
@example("=")
@example("\r")
@example("a.b.c.d = 1\n" * 3)
def test_any_text_is_hardware_or_an_error_with_a_line(text: str | bytes) -> None:
    try:
        assert isinstance(parse(text), Hardware)
    except ConfigError as error:
        found = ERROR.fullmatch(str(error))
        assert found
        newline: str | bytes = "\n" if isinstance(text, str) else b"\n"
        assert int(found[1]) <= text.count(newline) + 1  # type: ignore[arg-type]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(["64 MiB", "filer2", "1 KiB", 2**32, 2**63 - 1, [], [1], {"a": 1}])
)


@given(
    st.dictionaries(
        st.sampled_from(["system", "shelf", "kmip", "boot", "bot"]),
        st.dictionaries(
            st.sampled_from([*Hardware._fields, "prot"]), VALUES.filter(lambda v: v is not None)
        ),
    )
)
def test_any_document_is_hardware_or_an_error_on_a_line_that_names_the_key(
    document: dict[str, dict[str, object]],
) -> None:
    text = tomli_w.dumps(document)
    try:
        parse(text)
    except ConfigError as error:
        refusal = str(error)
    else:
        return
    found = re.fullmatch(r'filer\.toml:([0-9]+): (?:unknown \w+ )?"?(\w+).*', refusal)
    assert found
    line = text.split("\n")[int(found[1]) - 1]
    assert found[2] in line or "must differ" in refusal


def test_the_longest_file_costs_no_more_than_a_moment() -> None:
    many = (SIZE_LIMIT - 100) // len("#disks,\n")
    began = time.monotonic()
    for filler in ("#disks,\n" * many, "disks," * many, "disks\n#" * many):
        assert error_of(f"[shelf]\ndisks = 0 # {filler}").startswith("2: ")
    values = '"disks",\n' * (many - 100)
    assert error_of(f"[shelf]\ndisks = [\n{values}]\n").startswith("2: ")
    assert time.monotonic() - began < 5


def load_from(path: Path) -> Hardware:
    return load(path, Storage())


def test_without_a_file_the_defaults_are_written_down(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert load_from(tmp_path / "filer.toml") == Hardware()
    finally:
        os.umask(old)
    assert (tmp_path / "filer.toml").read_text() == DEFAULT_TEXT
    assert stat.S_IMODE((tmp_path / "filer.toml").stat().st_mode) == 0o600
    assert load_from(tmp_path / "filer.toml") == Hardware()


def test_a_file_of_the_user_is_read_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "filer.toml"
    for text in ('[system]\nhostname = "mine"\n', "[system]\nhostname = mine\n", ""):
        path.write_text(text)
        try:
            load_from(path)
        except ConfigError as error:
            assert str(error) == "filer.toml:2: Invalid value"  # noqa: PT017
        assert path.read_text() == text


def test_a_link_of_the_user_is_followed_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "filer.toml"
    path.symlink_to("mine.toml")
    with pytest.raises(ConfigError, match=r"filer\.toml: a link to a file that is not there"):
        load_from(path)
    assert path.is_symlink()
    (tmp_path / "mine.toml").write_text('[system]\nhostname = "mine"\n')
    assert load_from(path).hostname == "mine"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="fifo: not a regular file"):
        load_from(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConfigError, match="directory: is a directory"):
        load_from(tmp_path / "directory")
    (tmp_path / "large").write_bytes(b"#" * (SIZE_LIMIT + 1))
    with pytest.raises(ConfigError, match="large: larger than 16 KiB"):
        load_from(tmp_path / "large")


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write filer\.toml: No such file or directory"):
        load_from(tmp_path / "gone" / "filer.toml")
