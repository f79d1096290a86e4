"""Other ports lead through the same door: names, origins, keys, and what is revoked."""

import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from kernel.api import Refused
from kernel.testing import Scripted, running
from tests.live import free_port
from tests.sockets import Served, serving


class Beside:
    """A server with a second port."""

    def __init__(self, served: Served, port: int) -> None:
        self.served, self.port = served, port

    async def get(self, path: str = "/v1/models", port: int = 0, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=60) as web:
            address = f"http://127.0.0.1:{port or self.port}{path}"
            return await web.get(
                address, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )


@pytest.fixture
async def beside() -> AsyncIterator[Beside]:
    port = free_port()
    async with running("openai_api", model=Scripted()) as app, serving(app) as served:
        await app.extension("openai_api").listen(port)
        yield Beside(served, port)
        await app.toggle("openai_api", on=False)
        await app.settled()
        with pytest.raises(httpx.ConnectError):
            await Beside(served, port).get()
        assert (await Beside(served, port).get("/static/app.css", served.port)).status_code == 200
        name = f"localhost:{port}"
        refused = await Beside(served, port).get("/static/app.css", served.port, host=name)
        assert refused.status_code == 403, "it goes by that port no more"


async def test_a_program_on_this_machine_is_let_in(beside: Beside):
    for port in (beside.port, beside.served.port):
        answer = await beside.get(port=port)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_another_name_is_refused(beside: Beside):
    for host in ("evil.test", f"evil.test:{beside.port}", "localhost", "localhost:1", "[::1]", ""):
        assert (await beside.get(host=host)).status_code == 403, host
    for host in (f"localhost:{beside.port}", f"LOCALHOST:{beside.port}", f"[::1]:{beside.port}"):
        assert (await beside.get(host=host)).status_code == 200, host


async def test_a_page_of_another_site_is_refused_and_so_is_one_of_another_port(beside: Beside):
    for origin in ("http://evil.test", f"http://127.0.0.1:{beside.served.port}", "null"):
        assert (await beside.get(origin=origin)).status_code == 403, origin
    assert (await beside.get(sec_fetch_site="cross-site")).status_code == 403
    own = await beside.get(origin=f"http://127.0.0.1:{beside.port}")
    assert own.status_code == 401, "a browser needs a key, as everywhere"


async def test_keys_count_there(beside: Beside):
    app = beside.served.app
    app.kernel.settings.update({"require_key": True}, "api")
    assert (await beside.get()).status_code == 401
    assert (await beside.get(authorization="Bearer sk-nobody")).status_code == 401
    key = f"Bearer {beside.served.key}"
    assert (await beside.get(authorization=key)).status_code == 200


async def test_pages_need_a_session_there(beside: Beside):
    shown = await beside.get("/settings", accept="text/html")
    assert shown.status_code == 401


async def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running("openai_api") as app, serving(app):
            with pytest.raises(Refused, match=f"Port {port} cannot be had"):
                await app.extension("openai_api").listen(port)
            with pytest.raises(Refused, match="There is no port 99999999"):
                await app.extension("openai_api").listen(99999999)
