"""What the tests of filer-qualify share: certificates for two addresses, made once."""

from pathlib import Path

import pytest

from filer.keyserver.authority import AUTHORITY_PRIVATE, Identity, prepare
from tests.kit import pki

ADDRESSES = ("127.0.0.21", "127.0.0.22")


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certs") / "certs"
    prepare(directory, ADDRESSES)
    partner = pki.client(
        Identity.parse((directory / AUTHORITY_PRIVATE).read_bytes()), "filer-partner"
    )
    (directory / "partner.pem").write_bytes(partner.private_pem())
    return directory
