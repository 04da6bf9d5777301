"""The user name and password that some key servers require besides the client certificate."""

from dataclasses import dataclass
from pathlib import Path

from filer.host.own_files import exposure
from filer.host.reading import UnreadableError, read_regular
from filer.host.text import printable
from filer.host.toml_file import ConfigError
from filer.keys.secret import Secret

_LONGEST = 1024


class Password(Secret):
    """The password of a user of the key servers; printable ASCII."""

    __slots__ = ()
    kind = "password"


@dataclass(frozen=True)
class Login:
    """A KMIP credential of the type *Username and Password*, sent with each request."""

    user: str
    password: Password


def read_login(user: str, file: Path) -> Login:
    """Return the login of ``user`` with the password in ``file``, which must not be open to others.

    Raises ConfigError, whose text has no part of the content.
    """
    name = f"filer.toml: password_file {printable(file.name)}"
    try:
        problem = exposure(file, secret=True)
        if problem:
            raise ConfigError(f"filer.toml: password_file {printable(problem)}")
        content = read_regular(file, _LONGEST)
    except UnreadableError as reason:
        raise ConfigError(f"{name}: {reason}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    password = content.removesuffix(b"\n").removesuffix(b"\r")
    if not password or any(not 0x20 <= byte < 0x7F for byte in password):
        raise ConfigError(f"{name}: must have one line of printable ASCII characters")
    return Login(user, Password(password))
