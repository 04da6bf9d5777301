"""PyKMIP's messages, imported quietly.

Importing this module is slow, since SQLAlchemy comes along; import it where it is used.
"""

import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside PyKMIP concern nobody who runs a filer
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
