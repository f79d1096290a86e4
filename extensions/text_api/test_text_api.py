"""Either API works when the other is off; each request is answered by the one it is meant for."""

import httpx
import pytest

from extensions.text_api.api import DIALECTS
from kernel.testing import Scripted, running
from kernel.testing.plugin import conformance
from tests.sockets import Served, serving

test_conformance = conformance(__file__)


async def post(served: Served, path: str = "generate", **body: object) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/api/v1/{path}", json=body)


async def name(served: Served) -> str:
    async with httpx.AsyncClient(timeout=60) as web:
        return (await web.get(f"{served.http}/api/v1/model")).json()["result"]


async def test_alone_it_says_what_is_missing():
    async with running("text_api") as app, serving(app) as served:
        answer = await post(served, prompt="A")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "switched_off")
        assert (await post(served, "model", action="list")).status_code == 503
        assert await name(served) == "None"


@pytest.mark.parametrize("on", ["kobold_api"])
async def test_either_works_alone(on: str):
    async with running(on, model=Scripted(" b.")) as app, serving(app) as served:
        for body in ({"prompt": "A", "max_length": 5}, {"prompt": "A", "max_new_tokens": 5}):
            answer = await post(served, **body)
            assert answer.json()["results"][0]["text"] == " b.", answer.text
        assert [each.api for each in app.kernel.registry.values(DIALECTS)] == [on.split("_")[0]]
        assert await name(served) == "scripted"


async def test_what_is_no_json_is_refused():
    async with (
        running("kobold_api") as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        for body in (b"{", b"[]", b"\xff"):
            answer = await web.post(f"{served.http}/api/v1/generate", content=body)
            assert answer.status_code == 400, body
