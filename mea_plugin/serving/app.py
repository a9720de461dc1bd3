"""The application: routes, errors in one shape, and a guard around every request."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mea_plugin import __version__
from mea_plugin.serving.answering import VictimError
from mea_plugin.serving.options import ServeOptions
from mea_plugin.serving.routes import router
from mea_plugin.serving.service import Service
from mea_plugin.victims import Victim

__all__ = ['create_app']

_ALWAYS = ('/metrics',)


def create_app(options: ServeOptions, victim: Victim, second: Victim | None = None) -> FastAPI:
    """A service as an ASGI application.

    Args:
        options: How it serves.
        victim: Who answers.
        second: The same once more, see :class:`~mea_plugin.serving.answering.Answerer`.

    Returns:
        The application, with the :class:`~mea_plugin.serving.service.Service` as ``app.state.service``. Its lifespan
        starts the service and stops it.

    Raises:
        InputError: The store cannot be used.
    """
    service = Service(options, victim, second)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    description = 'Image-to-image translation. Use it only as you are authorised to.'
    app = FastAPI(title=options.name, version=__version__, description=description, lifespan=lifespan)
    app.state.service = service
    app.include_router(router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(VictimError, _victim_failed)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(_Guard, service=service)
    return app


class _Guard:
    """Counts and times requests, and turns them away while the service stops.

    Args:
        app: What answers.
        service: Whose numbers these are.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
            await send(message)

        start = time.perf_counter()
        self._service.active += 1
        try:
            if self._service.stopping and scope['path'] not in _ALWAYS:
                stopping = JSONResponse({'detail': 'the service is stopping'}, 503, headers={'Retry-After': '10'})
                await stopping(scope, receive, note_status)
            else:
                await self._app(scope, receive, note_status)
        finally:
            self._service.active -= 1
            route = getattr(scope.get('route'), 'path', 'none')  # a path that strangers made up is no label
            self._service.metrics.requests.labels(route, str(status)).inc()
            self._service.metrics.seconds.labels(route).observe(time.perf_counter() - start)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({'detail': error.detail}, error.status_code, headers=error.headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ' '.join(str(part) for part in first['loc'])
    return JSONResponse({'detail': f'{place}: {first["msg"]}'}, 422)


async def _victim_failed(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({'detail': str(error)}, 500)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({'detail': 'the service failed'}, 500)  # the traceback is in its log
