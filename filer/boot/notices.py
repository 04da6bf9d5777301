"""What the filer tells while it boots, and who listens."""

from typing import Protocol

from filer.mroot.system_log import Messages


class Notices(Protocol):
    """Where a boot reports to; ``event`` is the name of the event in the system log."""

    def progress(self, event: str, text: str) -> None:
        """Tell a step that went as it should; of interest to a person only."""

    def warning(self, event: str, text: str) -> None:
        """Tell what the administrator has to know."""

    def banner(self, lines: tuple[str, ...]) -> None:
        """Show a box that cannot be overlooked."""


class Logged:
    """Notices that are written into the system log as well."""

    def __init__(self, messages: Messages, notices: Notices) -> None:
        self._messages = messages
        self._notices = notices

    def progress(self, event: str, text: str) -> None:
        """Log and tell a step."""
        self._messages.log(event, "info", text)
        self._notices.progress(event, text)

    def warning(self, event: str, text: str) -> None:
        """Log and tell a warning."""
        self._messages.log(event, "warning", text)
        self._notices.warning(event, text)

    def banner(self, lines: tuple[str, ...]) -> None:
        """Show a box; the log has the warnings that led to it."""
        self._notices.banner(lines)
