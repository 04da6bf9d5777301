"""Prevent core files, which would contain the keytable (``man key_manager``, LIMITATIONS)."""

import resource
from contextlib import suppress


def forbid_core_files() -> None:
    """Keep this process and its children from writing a core file when they crash."""
    # With a piped core_pattern Linux ignores RLIMIT_CORE, even 0; only 1 stops the dump.
    with suppress(ValueError):  # the hard limit is 0
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
