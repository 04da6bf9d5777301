"""The pictures of the README can be drawn again, and show what the README says."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.kit import pictures
from tests.kit.pictures import DIRECTORY, PICTURES

SVG = "{http://www.w3.org/2000/svg}"

SHOWN = {
    "prompt": ["did you mean", "key_manager", "restore", "key servers 2/2 up | disks 12/12 locked"],
    "manual": ["NA_KEY_MANAGER(1)", "SYNOPSIS", "-key_server", "ipaddr"],
}
"""Text that is readable in each picture."""


def words(picture: Path) -> str:
    root = ET.fromstring(picture.read_text(encoding="utf-8"))
    assert root.tag == f"{SVG}svg"
    texts = ("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    return "\n".join(texts).replace("\N{NO-BREAK SPACE}", " ")


def test_a_picture_is_there_for_each_that_can_be_taken() -> None:
    assert {path.stem for path in DIRECTORY.iterdir()} == set(PICTURES) == set(SHOWN)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_the_console_and_fetches_nothing(name: str) -> None:
    picture = DIRECTORY / f"{name}.svg"

    assert all(text in words(picture) for text in SHOWN[name])
    assert "url(http" not in picture.read_text(encoding="utf-8").replace('"', "")


def test_the_pictures_can_be_taken_again(tmp_path: Path) -> None:
    pictures.main(tmp_path / "pictures")

    for name in PICTURES:
        again = words(tmp_path / "pictures" / f"{name}.svg")
        assert all(text in again for text in SHOWN[name])
