"""The apps' own keys: made, found, changed, revoked.

A key is `sk-gw-` and 32 random bytes. Only its SHA-256 is stored: the secret has too much entropy to be
guessed, so no slow hash is needed and a request pays one hash and one look-up in memory. Every process holds
all keys and looks for changes by others twice a second.
"""

from gateway.keys.key import ADMIN_SCOPE, DEFAULT_SCOPES, SCOPES, Budget, Key, Limits
from gateway.keys.models import check_models, check_names
from gateway.keys.pages import page
from gateway.keys.ring import ADMIN_ID, ADMIN_NAME, KeyRing
from gateway.keys.secret import admin_key, generate_secret, replace_admin_key
from gateway.keys.wrong_keys import WrongKeys

__all__ = [
    "ADMIN_ID",
    "ADMIN_NAME",
    "ADMIN_SCOPE",
    "DEFAULT_SCOPES",
    "SCOPES",
    "Budget",
    "Key",
    "KeyRing",
    "Limits",
    "WrongKeys",
    "admin_key",
    "check_models",
    "check_names",
    "generate_secret",
    "page",
    "replace_admin_key",
]
