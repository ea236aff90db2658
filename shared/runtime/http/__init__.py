"""The HTTP side of a process: one factory for the app of every service."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.service import Service
from shared.runtime.app import App
from shared.runtime.clock import Clock
from shared.runtime.http.doors import Doors, UndeclaredRoute, declared_doors
from shared.runtime.http.front import Front
from shared.runtime.http.gate import Gate
from shared.runtime.http.openapi import description
from shared.runtime.http.probes import Readiness, builtin_doors
from shared.runtime.http.problems import CONTENT_TYPE, Problem, problem_of, too_many
from shared.runtime.keys import ApiKeys
from shared.runtime.settings import Settings

__all__ = ["Problem", "Readiness", "UndeclaredRoute", "make_app", "too_many"]


def make_app(
    service: Service,
    app: App,
    *,
    keys: ApiKeys,
    settings: Settings,
    clock: Clock,
    readiness: Readiness | None = None,
) -> ASGIApp:
    """Return the ASGI app of a service's process.

    It serves `app.routes` and `app.router` behind the manifest's scopes, and ``/livez``,
    ``/readyz``, ``/metrics``, ``/openapi.json`` and, for people, ``/docs``.

    Raises
    ------
    UndeclaredRoute
        The routes are not exactly those that the manifest declares.
    """
    api = _fastapi(service, app)
    routed = app.router.routes if app.router is not None else ()
    ready = Readiness(app.checks) if readiness is None else readiness
    doors = [
        *declared_doors(service, app.routes, routed, api),
        *builtin_doors(service, ready, lambda: description(service, api, app.described)),
    ]
    return Front(service, Doors(doors), Gate(keys, settings, clock), settings)


def _fastapi(service: Service, app: App) -> FastAPI:
    api = FastAPI(
        title=f"shoploop {service.name}",
        description=service.about,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    for kind in (RequestValidationError, HTTPException, Invalid, NotFound, Retryable, Exception):
        api.add_exception_handler(kind, _explained)
    if app.router is not None:
        api.include_router(app.router)
    return api


async def _explained(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    return Response(
        problem.body(request.state.request_id),
        status_code=problem.status_code,
        headers=dict(problem.headers or {}),
        media_type=CONTENT_TYPE.decode(),
    )
