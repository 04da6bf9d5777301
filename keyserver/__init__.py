"""A KMIP key server for trying out: PyKMIP's engine and sessions behind TLS of today."""

DEFAULT_ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5696
"""The port registered for KMIP."""
