"""The part of docs/FAULTS.md about pairs; the tests in tests/faults write its rows."""

from collections.abc import Sequence

from tests.kit.fault_matrix import Part, Row, Section

INTRODUCTION = """
# Faults of a pair

What either node of an HA pair says and serves when something befalls one of them: {faults} cases,
{rows} lines.

`tests/faults/test_pair_faults.py` and its neighbours write the tables, as `test_faults.py` writes
those above.

**How a fault is made.**
The nodes are filer1 and filer2, with four disks each, all rekeyed and locked, and two key servers,
127.0.0.2 and 127.0.0.3.
Unless a line says otherwise, both nodes are up at the beginning.
A line without a command says what happens.

**What is said:** warnings and failures; if there are none, the last line; of `cf` commands, all
lines.
`KEYID1` and `KEYID2` are the key IDs of the disks of filer1 and filer2 at the beginning, `NEWKEYID`
one that was made later.

**State:** what has changed of what each node serves: how many disks are open, also those of a
partner that was taken over, and how many keys are in its keytable.
A disk that has counted a wrong key would be named.
Where the nodes are processes of their own, the state is that in their mailboxes.
In the end the fault is over, and unless a line says otherwise both nodes boot with all their disks,
every disk opens with a key that is on the key servers, and filer1 takes filer2 over and gives it
back.
"""

SECTIONS = (
    Section(
        "Keys of the partner",
        "A takeover opens the disks of the partner with the keytable of the survivor. "
        "A command of the survivor waits for no disk: it tries no key unless it has all.",
        (
            "the survivor lacks a key of its partner",
            "the partner has rekeyed, and the keytable is old",
            "each node has registered another key server",
            "the nodes have client certificates of different owners",
            "the keys of one node are destroyed on the key servers",
        ),
    ),
    Section(
        "Both nodes at once",
        "The nodes take no turns: each sees what the key servers showed it before it changes them.",
        ("both rekey at once", "both rekey at once with 127 key pairs"),
    ),
    Section(
        "A partner that may be alive",
        "Only the service lock says that a process does not serve its disks any more.",
        (
            "the interconnect is cut while both live",
            "the process of the partner is stopped, and goes on later",
        ),
    ),
    Section(
        "Shredding",
        "Only the disks of one node are destroyed; the other one serves its own.",
        (
            "a node is shredded in maintenance mode while the other serves",
            "the spare disks of a node that was taken over are shredded",
        ),
    ),
    Section(
        "Power",
        "A disk that has lost power is locked, and needs a key.",
        (
            "both lose power, and no key server answers",
            "a node panics with AUTOBOOT",
        ),
    ),
    Section(
        "A crash at any moment",
        "The process of one node is killed before, within or after any change of a file, or power "
        "is lost and only some of the unsynced changes have reached the medium. "
        "The state is what both nodes serve afterwards, the same for every moment.",
        (
            "killed in a takeover",
            "killed in a giveback",
            "killed in a halt of the survivor",
            "killed in a boot of the partner",
            "killed in a halt of the partner",
            "killed in a rekey of the partner",
            "killed in a rekey of the partner by the survivor",
            "power lost in a takeover",
            "power lost in a giveback",
            "power lost in a rekey on both nodes",
        ),
    ),
)

PART = Part(
    INTRODUCTION,
    ("Fault", "Node", "Command", "What is said", "State"),
    SECTIONS,
)


def record(fault: str, rows: Sequence[Row]) -> None:
    """Write the rows of ``fault``; fail if the file had others."""
    as_committed = PART.record(fault, rows)
    assert as_committed, "docs/FAULTS.md was wrong, and is right now: look at it, and commit it"
