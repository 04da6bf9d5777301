"""All checks, in the order in which they are made and documented.

A module beside those of ``checks/`` can add checks: entry points of the group `GROUP`, each a
`Check`.
"""

from importlib.metadata import EntryPoint, entry_points

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.qualify.checks import (
    clients,
    endurance,
    lifecycle,
    limits,
    pairs,
    profile,
    protocol,
    search,
    speed,
    tls,
)
from filer.qualify.outcome import Check

GROUP = "filer.qualify.checks"

BUILT_IN: tuple[Check, ...] = (
    tls.tls_versions,
    tls.server_certificate,
    tls.client_certificate,
    protocol.versions,
    protocol.capabilities,
    lifecycle.lifecycle,
    protocol.single_item,
    search.empty_locate,
    pairs.register_read_back,
    pairs.key_shapes,
    pairs.text_limits,
    search.filters,
    pairs.attributes,
    search.locate_complete,
    limits.batches,
    limits.response_limit,
    limits.request_limit,
    speed.pairs_in_time,
    speed.crowded_server,
    speed.connections,
    lifecycle.duplicates,
    clients.isolation,
    clients.ha_partner,
    endurance.durability,
    endurance.replication,
    protocol.clock,
    lifecycle.clean_up,
    profile.oasis_profile,
)


def checks() -> tuple[Check, ...]:
    """Return the checks of this program, then those of other distributions by name.

    Raises FilerError for an entry point that is not a check.
    """
    added = sorted(entry_points(group=GROUP), key=lambda each: each.name)
    return (*BUILT_IN, *map(_loaded, added))


def _loaded(added: EntryPoint) -> Check:
    try:
        check = added.load()
    except Exception as error:  # it is not our code
        reason = printable(f"{type(error).__name__}: {error}")
        raise FilerError(f"the check {added.name} cannot be loaded: {reason}") from error
    if not isinstance(check, Check):
        raise FilerError(f"{added.value} is not a check")
    return check
