"""The manual pages, as package data."""
