"""The least that a Starlette route can do with a body."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """Return the body."""
    return Response(await request.body())


app = Starlette(routes=[Route("/", echo, methods=["POST"])])
