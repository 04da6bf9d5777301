"""All checks, in the order in which they are made and documented.

A module beside those of ``checks/`` can add checks: entry points of the group `GROUP`, each a
`Check`.
"""

from importlib.metadata import entry_points

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

    Raises TypeError for an entry point that is not a check.
    """
    added = sorted(entry_points(group=GROUP), key=lambda each: each.name)
    found = [each.load() for each in added]
    for entry, loaded in zip(added, found, strict=True):
        if not isinstance(loaded, Check):
            raise TypeError(f"{entry.value} is not a check")
    return (*BUILT_IN, *found)
