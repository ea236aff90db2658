"""Errors as RFC 9457 problem details: what is wrong, where, and what to do."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.contracts.errors import Invalid, NotFound, Retryable

CONTENT_TYPE = b"application/problem+json"
RETRY_AFTER_S = 1
_ADVICE = {
    400: "The request could not be read: check its body and content type.",
    404: "There is nothing at this address; /docs shows what there is.",
    405: "This address exists, but not for this method; see the Allow header.",
    500: "This is our fault, and it was logged under the instance named here. Try again later.",
    503: "Something that is needed is away at the moment. Try again shortly.",
}
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Problem(HTTPException):
    """An error that a route answers with.

    Parameters
    ----------
    status : int
        400 to 599.
    detail : str
        What is wrong with this very request, and what to do about it.
    title : str, optional
        The kind of problem in a few words, the same for all of its kind.
    kind : str, optional
        Last part of the problem's `type`; the status's name by default.
    errors : sequence of mappings, optional
        One for each wrong value: `field` (a path such as ``items[0].price_cents``) and `reason`.
    headers : mapping, optional
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        kind: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status, detail=detail, headers=headers)
        self.title = title or HTTPStatus(status).phrase
        self.kind = kind or HTTPStatus(status).name.lower().replace("_", "-")
        self.errors = errors

    def body(self, instance: str) -> bytes:
        """Return the JSON of this problem in the request called `instance`."""
        content: dict[str, Any] = {
            "type": f"urn:shoploop:problem:{self.kind}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            "instance": f"urn:shoploop:request:{instance}",
        }
        if self.errors:
            content["errors"] = self.errors
        return _encode(content)


def too_many(detail: str, *, after_s: float = RETRY_AFTER_S) -> Problem:
    """Return the 429 that asks to wait `after_s`."""
    return Problem(429, detail, headers={"Retry-After": _seconds(after_s)})


def problem_of(error: Exception) -> Problem:
    """Return what to tell the caller about `error`; nothing of an unexpected one."""
    match error:
        case Problem():
            problem = error
        case Invalid():
            wrong = {"field": error.field or "", "reason": error.reason}
            problem = _invalid([wrong], str(error))
        case RequestValidationError():
            found = [{"field": _path(e["loc"]), "reason": e["msg"]} for e in error.errors()]
            problem = _invalid(found, f"{len(found)} value(s) are wrong; see errors.")
        case NotFound():
            problem = Problem(404, str(error))
        case Retryable():
            after_s = RETRY_AFTER_S if error.after_s is None else error.after_s
            problem = Problem(503, _ADVICE[503], headers={"Retry-After": _seconds(after_s)})
        case HTTPException():
            problem = _foreign(error)
        case _:
            problem = Problem(500, _ADVICE[500])
    return problem


def _invalid(errors: Sequence[Mapping[str, Any]], detail: str) -> Problem:
    return Problem(422, detail, title="Invalid request", kind="invalid", errors=errors)


def _foreign(error: HTTPException) -> Problem:
    spoken = error.detail and error.detail != HTTPStatus(error.status_code).phrase
    detail = error.detail if spoken else _ADVICE.get(error.status_code, error.detail)
    return Problem(error.status_code, detail, headers=error.headers)


def _path(location: Sequence[str | int]) -> str:
    """Return a location as ``items[0].price``, without the part of the request it starts with."""
    path = ""
    for step in location[1:] or location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _seconds(duration: float) -> str:
    return str(max(1, round(duration)))
