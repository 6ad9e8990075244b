"""The Kubernetes client against a server that does not say goodbye."""

import asyncio
import gc
import socket
import ssl
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from penstock_lab.cluster.certificates import create
from penstock_lab.kube import Kube, Resource
from penstock_lab.kubeconfig import Connection

PODS = Resource("v1", "pods")
EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"one"}}}\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_watch_that_ends_leaves_no_connection_behind(tmp_path: Path) -> None:
    """Not even where the loop ends at once and the server is too busy to answer the end of TLS."""
    certificates, done = create(tmp_path, service_ip="10.0.0.1"), Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.file("server.crt"), certificates.file("server.key"))

    def serve(listening: socket.socket) -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as one:
            one.recv(65_536)
            one.sendall(HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            done.wait(60)

    async def first_event(port: int) -> str:
        trust = ssl.create_default_context(cafile=str(certificates.authority))
        async with Kube(Connection(f"https://127.0.0.1:{port}", None, None, trust)) as kube:
            watch = kube.watch(PODS, resource_version="1")
            _, found = await anext(watch)
            await watch.aclose()
            return str(found["metadata"]["name"])

    with (
        ThreadPoolExecutor(1) as pool,
        socket.create_server(("127.0.0.1", 0)) as listening,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        serving = pool.submit(serve, listening)
        assert asyncio.run(first_event(listening.getsockname()[1])) == "one"
        gc.collect()
        done.set()
        serving.result()
    assert [str(one.message) for one in said] == []
