"""options: print and set the options of the system."""

from pathlib import Path

import pytest

from filer.host.durable import Storage
from filer.host.toml_file import ConfigError
from filer.options import OPTIONS, OptionError, Options
from tests.kit import manual
from tests.kit.house import House, Told
from tests.kit.manual import Build

build, house = manual.build, manual.house

ALL = """\
autoboot                     off
cf.giveback.auto.enable      off
cf.takeover.detection.seconds 15
cf.takeover.on_failure       on
cf.takeover.on_panic         on
cf.takeover.on_reboot        on
console.messages             auto
disk.auto_assign             on
kmip.init.maxwait            0
kmip.port                    {port}
kmip.timeout                 20
snaplock                     off
storageencryption.support    on
"""


def test_options_lists_all_or_those_that_begin_so(house: House) -> None:
    everything = ALL.format(port=house.filer.port)
    assert house.good("options") == everything
    kmip = [line for line in everything.splitlines(keepends=True) if line.startswith("kmip")]
    assert house.good("options kmip") == "".join(kmip)
    assert house.good("options disk.auto_assign") == "disk.auto_assign             on\n"
    assert house.bad("options nosuch") == "options: No such option nosuch\n"


def test_an_option_is_set_in_silence_and_kept(house: House) -> None:
    assert house.good("options disk.auto_assign off") == ""
    for _ in range(2):
        assert house.good("options disk") == "disk.auto_assign             off\n"
        house.boot()
    assert house.good("rdfile /etc/registry") == '"disk.auto_assign" = "off"\n'
    (line,) = [
        line
        for line in house.good("rdfile /etc/messages").splitlines()
        if "[filer1:options.changed:info]: " in line
    ]
    assert line.endswith("]: disk.auto_assign changed: on to off")
    assert (house.root / "mroot/etc/registry").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_set_is_refused(house: House) -> None:
    before = house.good("options")
    for words, message in {
        "nosuch on": "No such option nosuch",
        "disk on": "No such option disk",
        "disk.auto_assign perhaps": "disk.auto_assign must be on or off",
        "disk.auto_assign ''": "disk.auto_assign must be on or off",
        "cf.takeover.detection.seconds 0": "cf.takeover.detection.seconds must be a number of "
        "seconds from 1 to 180",
        "kmip.port 5697": "kmip.port cannot be set here; key_manager setup sets it",
        "autoboot on": "autoboot cannot be set here; setenv AUTOBOOT at LOADER sets it",
    }.items():
        assert house.bad(f"options {words}") == f"options: {message}\n"
        assert house.good("options") == before, words
    assert not (house.root / "mroot/etc/registry").exists()


def test_every_option_has_a_valid_default_and_help() -> None:
    for name, option in OPTIONS.items():
        assert option.check(option.default) == option.default
        assert option.help, name


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('\n"disk.auto_assign" = true\n', "2: disk.auto_assign must be on or off"),
        ('"disk.auto" = "on"\n', "1: there is no such option"),
        ("disk = \n", "1: Invalid value"),
    ],
)
def test_a_damaged_registry_is_named_with_its_line_and_kept(
    content: str, error: str, tmp_path: Path
) -> None:
    path = tmp_path / "registry"
    path.write_text(content)
    options = Options(path, Storage())
    with pytest.raises(ConfigError) as problem:
        options.values()
    assert str(problem.value) == f"mroot/etc/registry:{error}"
    with pytest.raises(ConfigError):
        options.set("disk.auto_assign", "off")
    assert path.read_text() == content


def test_a_value_is_checked_before_it_is_stored(tmp_path: Path) -> None:
    options = Options(tmp_path / "registry", Storage())
    with pytest.raises(OptionError, match=r"^disk\.auto_assign must be on or off$"):
        options.set("disk.auto_assign", "On")
    options.set("disk.auto_assign", "on")
    assert options["disk.auto_assign"] == "on"


def test_a_damaged_registry_does_not_stop_the_boot(build: Build) -> None:
    house = build(0)
    (house.root / "mroot/etc/registry").write_text("?")
    told = house.boot(Told())
    (warning,) = told.warnings
    assert warning.startswith("mroot/etc/registry:1: ")
    assert warning.endswith("; disks without an owner were not taken")
    assert house.bad("options").startswith("options: mroot/etc/registry:1: ")
