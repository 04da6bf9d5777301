"""PyKMIP's messages, without the rest of PyKMIP, and quietly.

Importing this module still takes a while; import it where it is used.
"""

import logging
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


def _add_package_without_its_client() -> None:
    """Put the package ``kmip`` in place, but run its ``__init__`` only for who wants more of it.

    It loads a client that nobody here uses, and an ORM for the sake of that: five sixths of the
    time that the import would take.  Of all it defines, PyKMIP's messages use the enumerations.
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
    warnings.simplefilter("ignore")  # deprecations inside PyKMIP concern nobody who runs a filer
    if "kmip" not in sys.modules:
        _add_package_without_its_client()
    from kmip.core import attributes, enums, objects
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.core.factories.payloads.response import ResponsePayloadFactory
    from kmip.core.factories.secrets import SecretFactory
    from kmip.core.messages import contents, messages, payloads
    from kmip.core.utils import BytearrayStream

logging.getLogger("kmip.core").setLevel(logging.CRITICAL + 1)

__all__ = [
    "AttributeFactory",
    "BytearrayStream",
    "ResponsePayloadFactory",
    "SecretFactory",
    "attributes",
    "contents",
    "enums",
    "messages",
    "objects",
    "payloads",
]
