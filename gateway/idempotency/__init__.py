"""Idempotency keys: a request that comes again gets the answer of the first one (docs/adr/0010).

`fingerprints.py` tells requests apart, `register.py` holds them, `middleware/idempotency.py` applies both.
"""

from gateway.idempotency.fingerprints import FormFingerprint, fingerprint, idempotency_key
from gateway.idempotency.register import Claim, Earlier, IdempotencyKeys

__all__ = ["Claim", "Earlier", "FormFingerprint", "IdempotencyKeys", "fingerprint", "idempotency_key"]
