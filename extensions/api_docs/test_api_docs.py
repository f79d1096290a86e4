"""Every route is described, by the structs that read it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kernel.testing import ROOT, App, running
from tests.sockets import Served, serving


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running("api_docs", "openai_api", "requests") as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def get(served: Served, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.get(served.http + path)


async def test_the_document_has_every_route(app: App, served: Served):
    said: dict[str, Any] = (await get(served, "/openapi.json")).json()
    chat = said["paths"]["/v1/chat/completions"]["post"]
    assert chat["tags"] == ["OpenAI"]
    own, sampling = chat["requestBody"]["content"]["application/json"]["schema"]["allOf"]
    schemas = said["components"]["schemas"]
    assert "messages" in schemas[own["$ref"].rpartition("/")[2]]["required"]
    assert "temperature" in schemas[sampling["$ref"].rpartition("/")[2]]["properties"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    model = said["paths"]["/v1/models/{id}"]["get"]
    assert model["parameters"][0]["name"] == "id"
    assert said["paths"]["/metrics"]["get"]["tags"] == ["Other"]
    assert all(
        operation["summary"] for methods in said["paths"].values() for operation in methods.values()
    )


async def test_what_is_switched_off_is_not_described(app: App, served: Served):
    await app.toggle("openai_api", on=False)
    await app.settled()
    paths = (await get(served, "/openapi.json")).json()["paths"]
    assert not [path for path in paths if path.startswith("/v1/")]


async def test_the_page_is_for_reading(served: Served):
    page = (await get(served, "/docs")).text
    assert "<code>/v1/chat/completions</code>" in page
    assert "<code>max_new_tokens</code>" in page
    assert "<code>messages</code> <span" in page
    assert "list of Said" in page


async def test_all_apis_are_described_together():
    apis = [each.parent.name for each in (ROOT / "extensions").glob("*_api/extension.toml")]
    async with running("api_docs", *apis) as app, serving(app) as served:
        said = (await get(served, "/openapi.json")).json()
        for path in ("/v1/messages", "/api/extra/abort", "/completion", "/api/v1/chat"):
            [operation] = said["paths"][path].values()
            assert len(operation["summary"]) > 5
            assert operation["requestBody"]
