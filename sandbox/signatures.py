"""Signatures of thinking blocks: they bind the text, so that a changed block is noticed on its return."""

import base64
import hashlib

_PREFIX = "c2FuZGJveC"
"""Base64 of "sandbox ": tells our signatures from Anthropic's, which cannot be checked here."""


def sign(thinking: str) -> str:
    """The signature of a thinking text."""
    digest = hashlib.blake2b(thinking.encode(), digest_size=48, key=b"sandbox").digest()
    return base64.b64encode(b"sandbox " + digest).decode()


def is_forged(thinking: str, signature: str) -> bool:
    """Whether a signature of ours comes with another text than the one it was made for."""
    return signature.startswith(_PREFIX) and signature != sign(thinking)
