"""The service's HTTP interface: what each path takes and gives."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mea_plugin.serving.billing import Reply
from mea_plugin.serving.bodies import extract_image, off_loop
from mea_plugin.serving.images import FORMATS
from mea_plugin.serving.jobs import Job
from mea_plugin.serving.keys import Customer
from mea_plugin.serving.openapi import (
    IMAGE_BODY,
    IMAGE_REPLY,
    TRANSLATION,
    Health,
    Info,
    JobAccepted,
    JobStatus,
    Usage,
    errors,
)
from mea_plugin.serving.piecewise import PiecewiseResponse
from mea_plugin.serving.refusal import Refusal
from mea_plugin.serving.service import ImageRequest, Service

__all__ = ['router']

router = APIRouter()

_BEARER = HTTPBearer(auto_error=False, description='A key made with `tools/serve.py --create-key`')
_SENT = (400, 401, 402, 403, 408, 413, 415, 422, 429, 500, 503)


def _service(request: Request) -> Service:
    return request.app.state.service


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
TheService = Annotated[Service, Depends(_service)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern='^[!-~]+$',
        description='Names this request: sent again with the same body, it gets the same reply and is billed once',
    ),
]


async def _caller(service: TheService, credentials: Credentials) -> Customer:
    return await service.identify(credentials.credentials if credentials else None)


async def _sender(request: Request, service: TheService, credentials: Credentials) -> Customer:
    """Whoever sends an image; known before its body is read."""
    return await service.admit(credentials.credentials if credentials else None, _address(request))


Caller = Annotated[Customer, Depends(_caller)]
Sender = Annotated[Customer, Depends(_sender)]


@router.post(
    '/v1/translate',
    summary='Answer an image',
    response_class=Response,
    responses={200: TRANSLATION, **errors(*_SENT)},
    openapi_extra=IMAGE_BODY,
)
async def translate(
    request: Request, service: TheService, customer: Sender, idempotency_key: IdempotencyKey = None
) -> Response:
    """One image in, one image out."""
    owner = service.owner_of(customer, _address(request))
    with service.bodies.image_of(request, owner) as arrival:
        content_type, body = await arrival.read()
        content = await off_loop(len(body), extract_image, content_type, body)
        reply, replayed = await service.translate(ImageRequest(customer, content, idempotency_key, owner))
    headers = {'Idempotent-Replay': 'true'} if replayed else None
    if _wants_json(request.headers.get('accept', '')):
        body = await off_loop(len(reply.image), _as_json, reply)
        return PiecewiseResponse(body, media_type='application/json', headers=headers)
    return _image(reply, headers)


@router.post(
    '/v1/jobs',
    summary='Answer an image later',
    status_code=202,
    response_model=JobAccepted,
    responses=errors(*_SENT),
    openapi_extra=IMAGE_BODY,
)
async def add_job(
    request: Request, service: TheService, customer: Sender, idempotency_key: IdempotencyKey = None
) -> Response:
    """The image waits in the service's store, through restarts, until it is answered."""
    owner = service.owner_of(customer, _address(request))
    with service.bodies.image_of(request, owner) as arrival:
        content_type, body = await arrival.read()
        content = await off_loop(len(body), extract_image, content_type, body)
        job, replayed = await service.add_job(ImageRequest(customer, content, idempotency_key, owner))
    headers = {'Location': _url(job)} | ({'Idempotent-Replay': 'true'} if replayed else {})
    return JSONResponse({'id': job.id, 'status': job.status, 'url': _url(job)}, 202, headers=headers)


@router.get(
    '/v1/jobs/{id}', summary='How far a job is', response_model=JobStatus, responses=errors(401, 404, 422, 500, 503)
)
async def job_status(id: str, service: TheService, customer: Caller) -> dict[str, Any]:
    """Poll this until the status is `done` or `failed`."""
    job = await service.find_job(customer, id)
    result = f'{_url(job)}/image' if job.status == 'done' else None
    return {'id': job.id, 'status': job.status, 'result': result, 'error': job.error}


@router.get(
    '/v1/jobs/{id}/image',
    summary="A job's answer",
    response_class=Response,
    responses={200: IMAGE_REPLY, **errors(401, 404, 409, 422, 500, 503)},
)
async def job_image(id: str, service: TheService, customer: Caller) -> Response:
    """The image, once the job is done; kept for the service's `idempotency_hours`."""
    job = await service.find_job(customer, id)
    if job.reply is None:
        raise Refusal(409, f'the job is {job.status}' + (f': {job.error}' if job.error else ''))
    return _image(job.reply)


@router.get('/v1/info', summary='What is served', response_model=Info, responses=errors(401, 500, 503))
async def info(service: TheService, customer: Caller) -> dict[str, Any]:
    """The model's name, its scale, and what a request may have."""
    # Hashed once more: the fingerprint itself would let others check guesses about the weights.
    model = hashlib.sha256(service.victim.fingerprint.encode()).hexdigest()[:16]
    return {
        'name': service.options.name,
        'scale': service.victim.scale,
        'model': model,
        'formats': list(FORMATS),
        'max_body_bytes': service.options.limits.body_bytes,
        'max_pixels': service.options.limits.pixels,
        'max_side': service.options.limits.max_side,
        'min_side': service.options.limits.min_side,
    }


@router.get('/v1/usage', summary='What the key has used', response_model=Usage, responses=errors(401, 500, 503))
async def usage(service: TheService, customer: Caller) -> dict[str, Any]:
    """Bills, and what the key may have."""
    rates = service.rates(customer)
    return {
        'name': customer.name,
        'billed': customer.billed,
        'quota': customer.quota,
        'rate': rates.requests,
        'pixel_rate': rates.pixels,
    }


@router.get('/healthz', summary='Whether requests are answered', response_model=Health, responses=errors(503))
async def healthz() -> dict[str, str]:
    """No key needed. 503 from when the service is told to stop."""
    return {'status': 'ok'}


@router.get(
    '/metrics',
    summary='Numbers for Prometheus',
    response_class=Response,
    responses={
        200: {'description': "Prometheus' text format", 'content': {'text/plain': {'schema': {'type': 'string'}}}},
        **errors(403, 500),
    },
)
async def metrics(request: Request, service: TheService) -> Response:
    """No key needed; for clients on the same machine, unless the service is set up otherwise."""
    if not service.options.public_metrics and not _is_loopback(_address(request)):
        raise Refusal(403, 'metrics are for this machine only')
    return Response(service.metrics.page(), media_type='text/plain; version=0.0.4; charset=utf-8')


def _image(reply: Reply, headers: dict[str, str] | None = None) -> Response:
    return PiecewiseResponse(reply.image, media_type=f'image/{reply.format}', headers=headers)


def _as_json(reply: Reply) -> bytes:
    return b'{"image":"%b","format":"%b"}' % (base64.b64encode(reply.image), reply.format.encode())


def _address(request: Request) -> str:
    return request.client.host if request.client else ''


def _url(job: Job) -> str:
    return f'/v1/jobs/{job.id}'


def _wants_json(accept: str) -> bool:
    kinds = [part.partition(';')[0].strip().lower() for part in accept.split(',')]
    return 'application/json' in kinds and not any(kind.startswith('image/') for kind in kinds)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, 'ipv4_mapped', None)  # how an IPv4 client looks to an IPv6 socket
    return (mapped or address).is_loopback
