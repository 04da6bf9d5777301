"""Notices: what a boot reports."""

from typing import Protocol

from filer.mroot.system_log import Messages


class Notices(Protocol):
    """Receives the reports of a boot; ``event`` is the event's name in the system log."""

    def progress(self, event: str, text: str) -> None:
        """Report a step that succeeded; only people need it."""

    def attempt(self, event: str, text: str) -> None:
        """Report an attempt that failed and is about to be repeated; it is not logged."""

    def warning(self, event: str, text: str) -> None:
        """Report what the administrator has to know."""

    def banner(self, lines: tuple[str, ...]) -> None:
        """Show a box, whose reasons were reported as warnings."""


class Logged:
    """Notices that are also written to the system log, except for attempts and banners."""

    def __init__(self, messages: Messages, notices: Notices) -> None:
        self._messages = messages
        self._notices = notices

    def progress(self, event: str, text: str) -> None:
        self._messages.log(event, "info", text)
        self._notices.progress(event, text)

    def attempt(self, event: str, text: str) -> None:
        self._notices.attempt(event, text)

    def warning(self, event: str, text: str) -> None:
        self._messages.log(event, "warning", text)
        self._notices.warning(event, text)

    def banner(self, lines: tuple[str, ...]) -> None:
        self._notices.banner(lines)
