"""The storage encryption of a filer: state, keys, key servers, disks, boot. Knows no screen.

What the process of either program needs is here too: command line, standard streams, no core file.
"""

__version__ = "0.1.0"

BUILT = "2026-11-27T12:00:00+00:00"
"""When this version was made, in ISO 8601: the build date that ``version`` prints."""

RELEASE = "8.2.5"
"""The release of Data ONTAP that the filer emulates."""
