"""PyKMIP's message classes, without the rest of PyKMIP and without its warnings.

This module is slow to import; import it where it is used.
"""

import logging
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


def _add_package_without_its_client() -> None:
    """Register the package ``kmip``, but run its ``__init__`` only when more of it is used.

    ``__init__`` loads PyKMIP's client, which is not used here, and with it an ORM: five sixths of
    the import time.  The message classes need only its enumerations.
    """
    spec = find_spec("kmip")
    assert spec
    assert spec.loader
    package, run = module_from_spec(spec), spec.loader.exec_module

    def load_all(name: str) -> Any:
        del package.__dict__["__getattr__"]
        run(package)
        return getattr(package, name)

    sys.modules["kmip"] = package
    package.__dict__.update(__getattr__=load_all, enums=import_module("kmip.core.enums"))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # users cannot act on deprecations inside PyKMIP
    if "kmip" not in sys.modules:
        _add_package_without_its_client()
    from kmip.core import attributes, enums, objects
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.core.factories.secrets import SecretFactory
    from kmip.core.messages import contents, messages, payloads
    from kmip.core.utils import BytearrayStream

logging.getLogger("kmip.core").setLevel(logging.CRITICAL + 1)

__all__ = [
    "AttributeFactory",
    "BytearrayStream",
    "SecretFactory",
    "attributes",
    "contents",
    "enums",
    "messages",
    "objects",
    "payloads",
]
