"""The directories of the user, as XDG and the home directory say.

In a container the user may have neither HOME nor an entry in /etc/passwd; then there are none.
"""

import os
from pathlib import Path
from typing import Literal

Kind = Literal["config", "data", "state"]


def user_path(kind: Kind, program: str) -> Path | None:
    """Return the directory of ``program``, or None if the home directory is unknown."""
    from platformdirs import PlatformDirs  # 5 ms

    directories = PlatformDirs(program, appauthor=False)
    try:
        return Path(getattr(directories, f"user_{kind}_path"))
    except RuntimeError:
        return None


def default_root() -> Path | None:
    """Return the root of the filer if none is given, or None if the home directory is unknown."""
    if os.environ.get("FILER_ROOT"):
        return Path(os.environ["FILER_ROOT"])
    return user_path("data", "filer")
