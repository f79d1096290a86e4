"""Every route of the OpenAPI document is asked for what its schemas allow and forbid: no 500.

`--long --cases N` asks each family of routes N times; without --long each gets a small number.
Half of it keeps to the schemas, half breaks them, each after its own; Hypothesis makes both.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, openapi
from schemathesis.core import NotSet

from kernel.testing import App, running
from tests.apis.clients import EXTENSIONS, model, with_vectors
from tests.programs import Knowing

GROUPS = ("OpenAI", "Anthropic", "Ollama", "llama-server", "Text", "Kobold", "Legacy", "Other")
OTHERS = ("kobold_api", "legacy_api", "websocket_api", "api_docs", "requests", "conversations")
TEXT: dict[str, Any] = {"type": "string"}
FIELDS: dict[str, dict[str, Any]] = {
    "prompt": TEXT,
    "text": TEXT,
    "user_input": TEXT,
    "history": {"type": "object"},
    "max_length": {"type": "integer", "minimum": 1, "maximum": 512},
    "stop_sequence": {"type": "array", "items": TEXT},
    "action": {"enum": ["info", "list", "load", "unload"]},
}
"""Of routes that more than one old API has, and whose document therefore has no body."""
FEW = 12
"""Cases of each group in a run that is not long: each time the same."""
SECONDS = 60
"""That one answer may take on a busy machine."""
JSON = {"content-type": "application/json"}
CHECKS: Any = list(HealthCheck)
HOW = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=CHECKS,
)


class Fuzzed(NamedTuple):
    """An application that is asked, and the schema of what it says it takes."""

    app: App
    model: Knowing
    operations: list[Any]


@pytest.fixture
async def fuzzed() -> AsyncIterator[Fuzzed]:
    said = model()
    async with running(*EXTENSIONS, *OTHERS, model=said) as app:
        await with_vectors(app)
        document = with_bodies((await app.fetch("/openapi.json", who="key")).json())
        found: list[Any] = [*openapi.from_dict(document).get_all_operations()]
        yield Fuzzed(app, said, [each.ok() for each in found])


def with_bodies(document: dict[str, Any]) -> dict[str, Any]:
    """Routes that say nothing of a body are sent some all the same."""
    prompt = {"type": "object", "properties": FIELDS, "required": ["prompt"]}
    body = {"content": {"application/json": {"schema": prompt}}}
    for methods in document["paths"].values():
        if "post" in methods:
            methods["post"].setdefault("requestBody", body)
    return document


@pytest.mark.parametrize("group", GROUPS)
async def test_no_request_breaks_a_route(fuzzed: Fuzzed, group: str):
    await fuzz(fuzzed, group, FEW)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("group", GROUPS)
async def test_no_request_of_very_many_breaks_a_route(
    fuzzed: Fuzzed, group: str, request: pytest.FixtureRequest
):
    cases: Any = request.config.getoption("--cases")
    await fuzz(fuzzed, group, cases)


async def fuzz(fuzzed: Fuzzed, group: str, cases: int) -> None:
    """At least so many, shared out to the routes that take something; the others are asked once."""
    found = [each for each in fuzzed.operations if each.tags[0] == group]
    share = math.ceil(cases / sum(takes(each) for each in found))
    statuses: Counter[int] = Counter()
    for each in found:
        for mode, count in shares(each, share):
            statuses.update(await asked(fuzzed, each, mode, count))
    print(f"{group}: {sum(statuses.values())} cases, {dict(sorted(statuses.items()))}")  # noqa: T201
    assert sum(statuses.values()) >= cases


def takes(operation: Any) -> bool:
    """Whether its requests can differ."""
    return bool(operation.body or list(operation.path_parameters))


def shares(operation: Any, count: int) -> list[tuple[Any, int]]:
    """In which ways it is asked, and how often each; every word is a good part of a path."""
    if not takes(operation):
        return [(GenerationMode.POSITIVE, 1)]
    if not operation.body:
        return [(GenerationMode.POSITIVE, count)]
    return [(mode, math.ceil(count / 2)) for mode in GenerationMode]


async def asked(fuzzed: Fuzzed, operation: Any, mode: Any, count: int) -> Counter[int]:
    """The statuses of so many answers. Hypothesis is not async: it draws in a thread."""
    loop, statuses = asyncio.get_running_loop(), Counter[int]()

    @settings(HOW, max_examples=count, derandomize=count <= FEW)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        status = asyncio.run_coroutine_threadsafe(answered(fuzzed, case), loop).result(SECONDS)
        statuses[status] += 1

    await asyncio.to_thread(check)
    return statuses


async def answered(fuzzed: Fuzzed, case: Any) -> int:
    """What a case is answered; a model that it unloaded is there again for the next."""
    body = b"" if isinstance(case.body, NotSet) else case.body
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    how: dict[str, Any] = {
        "method": case.method,
        "who": "key",
        "headers": {"content-type": "application/json"},
    }
    async with asyncio.timeout(SECONDS):
        answer = await fuzzed.app.fetch(case.formatted_path, body=body, **how)
    assert answer.status != 500, (case.method, case.formatted_path, body, answer.text)
    if fuzzed.app.kernel.slot().state.state != "ready":
        await fuzzed.app.load(fuzzed.model)
    return answer.status
