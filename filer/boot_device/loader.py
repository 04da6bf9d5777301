"""The environment of the boot loader, stored on the boot device."""

from pathlib import Path

from filer.host.durable import Storage
from filer.host.reading import NotThereError
from filer.host.toml_file import Document


class LoaderEnvironment:
    """AUTOBOOT: whether the filer boots again by itself after a panic.

    ``default``, from filer.toml, is the value until AUTOBOOT is set.
    """

    def __init__(self, path: Path, storage: Storage, default: bool) -> None:
        self._path = path
        self._storage = storage
        self._default = default

    @property
    def autoboot(self) -> bool:
        """Whether AUTOBOOT is set.  Raises ConfigError if the file is damaged."""
        try:
            document = Document.read(f"var/{self._path.name}", self._path)
        except NotThereError:
            return self._default
        value = document.values.get("autoboot")
        if not isinstance(value, bool):
            raise document.error(("autoboot",), "autoboot must be true or false")
        return value

    @autoboot.setter
    def autoboot(self, value: bool) -> None:
        self._storage.write(self._path, f"autoboot = {str(value).lower()}\n".encode())
