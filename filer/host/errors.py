"""What goes wrong in a filer, said in one line."""


class FilerError(Exception):
    """A refusal or a failure; its text is one printable line in the filer's own voice."""
