"""A KMIP test server: PyKMIP's engine and sessions behind modern TLS."""

DEFAULT_ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5696
"""The TCP port assigned to KMIP by IANA."""
