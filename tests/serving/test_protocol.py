"""Connections of clients that do not go on are closed; those of slow clients that do are not."""

import asyncio
import socket

import pytest
import uvicorn
from uvicorn.server import ServerState

from mea_plugin.serving.protocol import patient_protocol
from tests.serving.stub import until

PATIENCE_S = 0.4
REPLY = bytes(24 << 20)  # more than the system's buffers hold
REQUEST = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'


async def large(scope, receive, send):
    headers = [(b'content-length', str(len(REPLY)).encode())]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': REPLY})


async def small(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'2')]})
    await send({'type': 'http.response.body', 'body': b'ok'})


def with_client(app, talk, patience_s=PATIENCE_S):
    """Run ``talk(client, connections)``: a socket, and the set of connections that the server has."""

    async def main():
        config = uvicorn.Config(app, lifespan='off', log_config=None, timeout_keep_alive=60)
        config.load()
        state, loop = ServerState(), asyncio.get_running_loop()
        kind = patient_protocol(patience_s)
        server = await loop.create_server(lambda: kind(config, state, {}), '127.0.0.1', 0)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            await until(lambda: state.connections)
            await talk(client, state.connections)
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize('sent', [b'', REQUEST[:9], REQUEST, REQUEST + REQUEST[:9]])
def test_half_a_request_and_silence_are_hung_up_on(sent):
    async def talk(client, connections):
        await asyncio.get_running_loop().sock_sendall(client, sent)
        await until(lambda: not connections)

    with_client(small, talk)


def test_a_body_that_nobody_reads_is_not_waited_for():
    async def talk(client, connections):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')

        async def still_there():
            try:
                await loop.sock_sendall(client, b'1\r\nx\r\n')
            except OSError:
                return False
            return bool(connections)

        async def gone():
            return not await still_there()

        await until(gone)

    with_client(small, talk)


def test_a_reply_that_is_not_fetched_is_dropped():
    async def talk(client, connections):
        await asyncio.get_running_loop().sock_sendall(client, REQUEST)
        await until(lambda: not connections)

    with_client(large, talk)


def test_a_slow_client_gets_all_of_a_large_reply():
    patience_s = 1.0

    async def talk(client, connections):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, REQUEST)
        start, size = loop.time(), 0
        while size < len(REPLY):
            piece = await loop.sock_recv(client, 1 << 20)
            assert piece, f'hung up after {size} bytes and {loop.time() - start:.2f} s'
            size += len(piece)
            # Paced over twice the patience, however fast the machine is.
            await asyncio.sleep(max(0.0, start + 2 * patience_s * size / len(REPLY) - loop.time()))
        assert loop.time() - start > 1.5 * patience_s

    with_client(large, talk, patience_s)


def test_requests_that_take_long_to_answer_are_not_cut_off():
    async def slow(scope, receive, send):
        await asyncio.sleep(2 * PATIENCE_S)
        await small(scope, receive, send)

    async def talk(client, connections):
        loop = asyncio.get_running_loop()
        for _ in range(2):
            await loop.sock_sendall(client, REQUEST)
            assert (await loop.sock_recv(client, 4096)).startswith(b'HTTP/1.1 200')

    with_client(slow, talk)
