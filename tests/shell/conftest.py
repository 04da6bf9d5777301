"""A filer over SSH, for the tests of the shell."""

from collections.abc import Iterator

import pytest

from tests.kit.console import Account
from tests.kit.remote import Remote, serving


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A running filer without key servers; tests leave it as it is."""
    with serving(Account(tmp_path_factory.mktemp("ssh") / "home")) as remote:
        yield remote
