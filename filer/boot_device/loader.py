"""The environment of the boot loader, stored on the boot device."""

from pathlib import Path

from filer.host.durable import Storage
from filer.host.toml_file import Document, dump, switch


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
        document = Document.find(f"var/{self._path.name}", self._path)
        return document.take("autoboot", switch) if document else self._default

    @autoboot.setter
    def autoboot(self, value: bool) -> None:
        self._storage.write(self._path, dump({"autoboot": value}))
