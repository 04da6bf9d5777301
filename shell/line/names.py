"""The names of commands: which are listed, and what is said of an unknown one."""

from filer.commands import Command, Complaint, SessionState


def is_listed(command: Command, session: SessionState) -> bool:
    """Say whether ``?`` and completion name ``command`` at the privilege of ``session``."""
    return command.privilege in ("admin", session.privilege)


def not_found(shown: str) -> Complaint:
    """Return the complaint about an unknown command; ``shown`` is its name, safe to show."""
    text = f"{shown} not found.  Type '?' for a list of commands"
    return Complaint(text, "unknown_command", name=shown)
