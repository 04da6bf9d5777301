"""The storage encryption of a filer: state, keys, key servers, disks, boot. Knows no screen."""

__version__ = "0.1.0"
