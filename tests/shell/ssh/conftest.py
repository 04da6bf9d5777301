"""A filer in this process, for the tests of SSH."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.house import House
from tests.kit.remote import house_of_root


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A filer to serve with `tests.kit.remote.clients_of`."""
    with house_of_root(tmp_path) as house:
        yield house
