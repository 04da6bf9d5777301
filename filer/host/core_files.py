"""No core file: it would give the whole keytable away (``man key_manager``, LIMITATIONS)."""

import resource
from contextlib import suppress


def forbid_core_files() -> None:
    """Leave no core when this process, or one that it starts, crashes."""
    # Linux pipes a core to the program in core_pattern whatever the limit is, 0 too, but for 1.
    with suppress(ValueError):  # the hard limit is 0
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
