"""The trial key server as its clients see it, and its program."""

import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from filer.keyserver.__main__ import main
from filer.keyserver.authority import Identity
from filer.keyserver.server import KeyServer
from filer.registration.pem import CLIENT_PRIVATE, ca_name
from tests.kit.paths import CHECKOUT

RESPONSE = b"\x42\x00\x7b\x01"
SECRET = "Qx7%secret-of-the-key-server-test"
KEY_ID = "080CF0C8000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"


def attribute(kind: str, value: Any, index: int | None = None) -> Any:
    from kmip.core.enums import AttributeType
    from kmip.core.factories.attributes import AttributeFactory

    return AttributeFactory().create_attribute(AttributeType[kind], value, index)


def namespace(data: str) -> dict[str, str]:
    return {"application_namespace": "filer", "application_data": data}


def register(client: Any, secret: str, key_id: str = KEY_ID, parent_tag: str = "5DCE1FE7") -> str:
    """Register one Secret Data object as a filer does."""
    from kmip.core import enums
    from kmip.core.objects import TemplateAttribute
    from kmip.pie.factory import ObjectFactory
    from kmip.pie.objects import SecretData

    password = enums.SecretDataType.PASSWORD
    result = client.proxy.register(
        enums.ObjectType.SECRET_DATA,
        TemplateAttribute(
            attributes=[
                attribute("NAME", key_id, 0),
                attribute("OBJECT_GROUP", "filer1", 0),
                attribute("APPLICATION_SPECIFIC_INFORMATION", namespace(parent_tag), 0),
                attribute("CRYPTOGRAPHIC_USAGE_MASK", [enums.CryptographicUsageMask.EXPORT]),
            ]
        ),
        ObjectFactory().convert(SecretData(secret.encode(), password)),
    )
    assert result.result_status.value is enums.ResultStatus.SUCCESS, result.result_message
    return str(result.uuid)


def located(client: Any, parent_tag: str = "5DCE1FE7") -> list[str]:
    wanted = attribute("APPLICATION_SPECIFIC_INFORMATION", namespace(parent_tag))
    return list(client.locate(attributes=[wanted]))


def client_context(server: KeyServer, identity: Path | None = None) -> ssl.SSLContext:
    """Return a strict client's context: only the CA, address checks, strict X.509 verification."""
    context = ssl.create_default_context(cafile=server.directory / ca_name(server.address))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity is not None:
        context.load_cert_chain(identity)
    return context


@contextmanager
def tls(server: KeyServer, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    context = context or client_context(server, server.directory / CLIENT_PRIVATE)
    with (
        socket.create_connection((server.address, server.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=server.address) as secured,
    ):
        yield secured


def ask(server: KeyServer, context: ssl.SSLContext | None = None) -> bytes:
    """Send an invalid request and return the answer. Raises the error of TLS."""
    with tls(server, context) as connection:
        connection.sendall(b"\x42\x00\x78\x01\x00\x00\x00\x08" + b"\xff" * 8)
        return connection.recv(4096)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def changed(directory: Path, before: dict[str, bytes]) -> list[str]:
    """Return the names of the files ``before`` that have another content now."""
    return [name for name, data in before.items() if (directory / name).read_bytes() != data]


def same_key(one: Identity, another: Identity) -> bool:
    return one.key.private_numbers() == another.key.private_numbers()


class Program:
    """``filer-keyserver`` in a separate process with a separate home directory."""

    def __init__(self, home: Path, *arguments: str, umask: int = 0o022) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "filer.keyserver", *arguments],
            cwd=CHECKOUT,
            env={"PATH": os.defpath, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")},
            umask=umask,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, with_signal: int | None = None) -> tuple[int, str, str]:
        """Wait for the end; return exit status, remaining standard output, and standard error."""
        if with_signal is not None:
            self.process.send_signal(with_signal)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs a command of ``filer-keyserver`` in this process.

    A test module calls it ``run``.
    """
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)
