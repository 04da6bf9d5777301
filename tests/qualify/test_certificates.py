"""The certificates of a key server: what is wrong with one is found before anything is sent."""

import shutil
from pathlib import Path

import pytest

from filer.keyserver.authority import AUTHORITY_PRIVATE, Identity, server_name
from filer.qualify.catalogue import BUILT_IN
from filer.qualify.outcome import BLOCKER, WARNING, Severity
from tests.kit import defective, pki
from tests.qualify.conftest import ADDRESSES
from tests.qualify.runs import Run, plan_for, qualified

ADDRESS = ADDRESSES[0]
HANDSHAKES = {"tls-versions", "server-certificate"}


def run_with(identity: Identity, certs: Path, directory: Path) -> Run:
    shutil.copytree(certs, directory / "certs")
    (directory / "certs" / server_name(ADDRESS)).write_bytes(identity.private_pem())
    checks = [each for each in BUILT_IN if each.name in {*HANDSHAKES, "versions", "duplicates"}]
    with defective.start(directory / "certs", ADDRESS) as server:
        return qualified(plan_for(server), directory / "ledger", checks)


def authority(certs: Path) -> Identity:
    return Identity.parse((certs / AUTHORITY_PRIVATE).read_bytes())


@pytest.mark.parametrize(
    ("valid", "severity", "words"),
    [
        (pki.EXPIRED, BLOCKER, "certificate expired"),
        (pki.NOT_YET, BLOCKER, "certificate"),
        (pki.EXPIRING, WARNING, "it expires on "),
    ],
)
def test_its_dates(
    valid: pki.Period, severity: Severity, words: str, certs: Path, tmp_path: Path
) -> None:
    identity = pki.server(authority(certs), ADDRESS, valid=valid)
    found = run_with(identity, certs, tmp_path).results["server-certificate"]

    assert (found.status, found.severity) == ("failed", severity)
    assert words in found.problems[0].message


@pytest.mark.parametrize("wrong", ["authority", "address"])
def test_one_that_is_not_trusted_ends_the_run(wrong: str, certs: Path, tmp_path: Path) -> None:
    issuer = pki.authority() if wrong == "authority" else authority(certs)
    address = "127.0.0.99" if wrong == "address" else ADDRESS
    run = run_with(pki.server(issuer, address), certs, tmp_path)

    assert run.failed == {"server-certificate"}
    assert run.results["server-certificate"].blocks
    assert set(run.not_tested) == {"versions", "duplicates"}
    assert set(run.not_tested.values()) == {"its certificate is not accepted"}
    assert not run.results["versions"].exchanges


def test_one_without_an_address_is_a_warning(certs: Path, tmp_path: Path) -> None:
    identity = pki.server(authority(certs), common_name=ADDRESS)
    found = run_with(identity, certs, tmp_path).results["server-certificate"]

    assert (found.status, found.severity) == ("failed", WARNING)
    assert "subjectAltName" in found.problems[0].message


def test_without_an_authority_what_needs_further_certificates_is_not_made(
    certs: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "certs"
    shutil.copytree(certs, directory)
    (directory / AUTHORITY_PRIVATE).unlink()
    chosen = {"client-certificate", "crowded-server", "pairs-in-time", "isolation"}
    with defective.start(directory, ADDRESS) as server:
        run = qualified(
            plan_for(server),
            tmp_path / "ledger",
            [each for each in BUILT_IN if each.name in chosen],
        )

    assert run.failed == set()
    assert set(run.not_tested) == {"crowded-server", "isolation"}
    assert all("--other-cert" in reason for reason in run.not_tested.values())
    assert any("expired" in fact for fact in run.results["client-certificate"].statements)


def test_a_second_certificate_can_be_given(certs: Path, tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    shutil.copytree(certs, directory)
    (directory / AUTHORITY_PRIVATE).unlink()
    other = pki.client(authority(certs), "another filer")
    (tmp_path / "other.pem").write_bytes(other.private_pem())
    with defective.start(directory, ADDRESS) as server:
        run = qualified(
            plan_for(server, other_cert=tmp_path / "other.pem"),
            tmp_path / "ledger",
            [each for each in BUILT_IN if each.name == "isolation"],
        )

    assert run.results["isolation"].status == "passed"
    assert server.store.objects == {}
