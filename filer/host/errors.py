"""The base class of the errors that users see."""


class FilerError(Exception):
    """A refusal or a failure; its text is one printable line for the user."""
