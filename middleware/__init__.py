"""The chain that every request passes, from the outside in. The order is the meaning:

Record              outermost, for only there is the final status known
CORS                answers preflights, which carry no key; only where CORS_ORIGINS is set
Errors              speaks for all that follows: what is raised further in becomes an answer in its dialect
Admission           refuses before anything is looked up: shutdown, overload, ambiguous paths
Routing             which operation; 404 and 405
Security            which key, and whether it has the scope; before the body is read
Limits              requests a minute and calls at a time of the key; before the body is read
RequestValidation   reads the body once, judges parameters and body
Idempotency         answers a request that comes again as before; needs the body, comes before all that acts
Walls               refuses what belongs to another key; once the body is read, which may name it
ResponseValidation  judges the answer that the handler made, then sends it
Handlers            the handler function (the application itself, not in this list)
"""

from functools import partial
from typing import Any

from gateway.limits import RATE_LIMIT_HEADERS
from gateway.services import Services
from middleware.admission import Admission
from middleware.cors import Cors
from middleware.errors import Errors
from middleware.idempotency import Idempotency
from middleware.limits import Limits
from middleware.record import Record
from middleware.request_validation import RequestValidation
from middleware.response_validation import ResponseValidation
from middleware.routing import Routing
from middleware.security import Security
from middleware.walls import Walls

EXPOSED_HEADERS = (
    "X-Request-ID",
    "Retry-After",
    "Location",
    "Idempotency-Replayed",
    "request-id",
    *RATE_LIMIT_HEADERS,
)


def chain(services: Services) -> list[Any]:
    """The middlewares for Connexion, outermost first."""
    origins = list(services.settings.cors_origins)
    cors = partial(
        Cors,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )
    return [
        partial(Record, services=services),
        *([cors] if origins else []),
        Errors,
        partial(Admission, services=services),
        Routing,
        Security,
        Limits,
        RequestValidation,
        Idempotency,
        Walls,
        ResponseValidation,
    ]
