"""Either API works when the other is off; each request is answered by the one it is meant for."""

from importlib import import_module
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from extensions.text_api.api import DIALECTS
from kernel.api import Phase
from kernel.testing import Scripted, running
from tests.sockets import Served, serving


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


@pytest.mark.parametrize("on", ["kobold_api", "legacy_api"])
async def test_either_works_alone(on: str):
    async with running(on, model=Scripted(" b.")) as app, serving(app) as served:
        for body in ({"prompt": "A", "max_length": 5}, {"prompt": "A", "max_new_tokens": 5}):
            answer = await post(served, **body)
            assert answer.json()["results"][0]["text"] == " b.", answer.text
        assert [each.api for each in app.kernel.registry.values(DIALECTS)] == [on.split("_")[0]]
        assert await name(served) == "scripted"


async def test_the_fields_tell_which_is_meant():
    model = Scripted(" b.")
    async with running("kobold_api", "legacy_api", model=model) as app, serving(app) as served:
        await post(served, prompt="A", max_length=5)
        await post(served, prompt="A", max_new_tokens=5)
        assert [request.sampling.temperature for request in model.asked] == [0.75, 0.5]
        answer = await post(served, prompt=3, max_length=5)
        assert "detail" in answer.json(), "as KoboldCpp says it"
        answer = await post(served, prompt=3, max_new_tokens=5)
        assert "detail" not in answer.json()
        assert (await post(served, "model", action="list")).json() == {"result": []}


async def test_another_api_may_answer_there_too():
    async with running("kobold_api", model=Scripted(" b.")) as app, serving(app) as served:
        kit = import_module("extensions.api_kit.api")  # As it was imported for this server.

        async def answer(call: Any) -> Response:
            assert call.api == "mine"
            if b"bad" in call.body:
                raise kit.refused("No.", "bad")
            if b"later" in call.body:
                fault = kit.Fault("Wait.", "rate_limit_error", None, "tokens_per_minute")
                raise kit.Problem(fault, after=41)
            return JSONResponse({"mine": True})

        class Mine(kit.Tongue):
            """Its own way to say no."""

            def response(self, fault: Any) -> Response:
                return JSONResponse({"no": fault.message}, 418)

        dialect = import_module("extensions.text_api.api").Dialect
        mine = dialect("mine", frozenset({"mine"}), answer, "Nobody", tongue=Mine())
        add = app.kernel.registry.add
        add(DIALECTS, mine, "test", phase=Phase.NORMAL, rank=0, rewrites=False)
        assert (await post(served, mine=1)).json() == {"mine": True}
        said = await post(served, mine="bad")
        assert (said.status_code, said.json()) == (418, {"no": "No."})
        said = await post(served, mine="later")
        assert (said.json(), said.headers["retry-after"]) == ({"no": "Wait."}, "41")
        assert (await post(served, prompt="A", max_length=1)).json()["results"]


async def test_what_is_no_json_is_refused():
    async with (
        running("kobold_api") as app,
        serving(app) as served,
        httpx.AsyncClient(timeout=60) as web,
    ):
        for body in (b"{", b"[]", b"\xff"):
            answer = await web.post(f"{served.http}/api/v1/generate", content=body)
            assert answer.status_code == 400, body
