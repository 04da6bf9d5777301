"""The names of commands: which are listed, and the complaint about an unknown one."""

from filer.commands import PRIVILEGES, Command, Complaint, SessionState


def is_listed(command: Command, state: SessionState) -> bool:
    """Say whether ``?`` and completion list ``command`` at the privilege of ``state``."""
    return command.privilege in PRIVILEGES[: PRIVILEGES.index(state.privilege) + 1]


def not_found(shown: str) -> Complaint:
    """Return the complaint about an unknown command; ``shown`` is its name, without secrets."""
    text = f"{shown} not found.  Type '?' for a list of commands"
    return Complaint(text, "unknown_command", name=shown)
