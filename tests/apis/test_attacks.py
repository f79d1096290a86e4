"""What nobody sends by accident: E41 numbers beyond all bounds, E42 more than anybody needs.

Where the other attacks on the APIs are tested stands in the README beside this file.
"""

import asyncio
import hashlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import httpx
import psutil
import pytest

from extensions.api_kit.api import APIS
from kernel.api import Key
from tests.apis.clients import HELLO
from tests.programs import Knowing
from tests.sockets import Served

CHAT, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"
TEXT, NATIVE, RESPONSES = "/v1/completions", "/completion", "/v1/responses"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO}, TEXT: {"prompt": "x"}, NATIVE: {"prompt": "x"},
    MESSAGES: {"messages": HELLO, "max_tokens": 9}, OLLAMA: {"messages": HELLO, "stream": False},
    RESPONSES: {"input": "x"},
}  # fmt: skip
FIELDS = {
    CHAT: ("n", "max_tokens", "top_k", "seed", "temperature", "top_logprobs", "truncation_length",
           "repetition_penalty_range", "max_tokens_second", "logit_bias", "dry_allowed_length"),
    TEXT: ("n", "best_of", "logprobs", "max_tokens", "top_k", "seed", "echo", "min_p"),
    NATIVE: ("n", "n_predict", "n_probs", "top_k", "seed", "n_keep", "n_discard", "id_slot"),
    MESSAGES: ("max_tokens", "top_k", "temperature", "top_p"),
    OLLAMA: ("options", "keep_alive", "think"),
    RESPONSES: ("max_output_tokens", "temperature", "top_logprobs", "max_tool_calls"),
}  # fmt: skip
EXTREMES = (
    "-1", "0", "2147483648", "9223372036854775808", "1e308", "-1e308", "1e999", "NaN", "Infinity",
    '"1"', "true", "null", "[1]", "{}", "[[[[]]]]", "1" * 400,
)  # fmt: skip
"""As JSON, or as what some programs take for it."""
MANY = 100_000


@pytest.fixture
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.http, timeout=60) as web:
        yield web


async def post(web: httpx.AsyncClient, path: str, body: bytes) -> httpx.Response:
    return await web.post(path, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize("path", FIELDS)
async def test_e41_no_number_breaks_a_route(web: httpx.AsyncClient, path: str):
    before = psutil.Process().memory_info().rss
    for field in FIELDS[path]:
        for value in EXTREMES:
            body = {k: v for k, v in BODIES[path].items() if k != field}
            start = json.dumps(body)[:-1].encode()
            answer = await post(web, path, start + f', "{field}": {value}}}'.encode())
            assert answer.status_code in (200, 400), (field, value, answer.text)
            if answer.status_code == 400:
                assert answer.json()["error"], (field, value)
    assert psutil.Process().memory_info().rss - before < 50_000_000


def tool(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{n}", "parameters": {}, **more}}


LARGE: dict[str, Callable[[], tuple[str, Any]]] = {
    "a prompt of 10 MB": lambda: (TEXT, {"prompt": "x " * 5_000_000}),
    "a message of 10 MB": lambda: (
        CHAT,
        {"messages": [{"role": "user", "content": "x" * 10_000_000}]},
    ),
    "a million stopping strings": lambda: (CHAT, {"messages": HELLO, "stop": ["x"] * 1_000_000}),
    "very many messages": lambda: (CHAT, {"messages": HELLO * MANY}),
    "very many tools": lambda: (CHAT, {"messages": HELLO, "tools": [tool(n) for n in range(MANY)]}),
    "a tool of 10 MB": lambda: (
        CHAT,
        {"messages": HELLO, "tools": [tool(0, description="x" * 10**7)]},
    ),
    "very many texts": lambda: (TEXT, {"prompt": ["x"] * MANY}),
    "very many for Anthropic": lambda: (MESSAGES, {"max_tokens": 9, "messages": HELLO * MANY}),
    "very many for Ollama": lambda: (OLLAMA, {"messages": HELLO * MANY}),
    "very many tokens": lambda: (TEXT, {"prompt": [1] * (10 * MANY)}),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
async def test_e42_too_much_costs_little(web: httpx.AsyncClient, name: str):
    path, body = LARGE[name]()
    data = json.dumps(body).encode()
    began = time.process_time()
    answer = await post(web, path, data)
    spent = time.process_time() - began
    assert answer.status_code in (200, 400, 413), answer.text
    assert spent < 3


HELD = {"tools": 1000, "messages": 10_000, "input": 10_000}
"""How many a request may hold."""


@pytest.mark.parametrize("path", [CHAT, MESSAGES, OLLAMA, RESPONSES])
async def test_e42_no_more_than_can_be_read_at_once(web: httpx.AsyncClient, path: str):
    for field in ("tools", "input" if path == RESPONSES else "messages"):
        for more in (0, 1):
            each = range(HELD[field] + more)
            many = [offer(path, n) if field == "tools" else HELLO[0] for n in each]
            body = BODIES[path] | {field: many}
            answer = await post(web, path, json.dumps(body).encode())
            says = answer.text
            assert answer.status_code == (400 if more else 200), says
            assert not more or f"length <= {HELD[field]}" in says, says


def offer(path: str, n: int) -> dict[str, Any]:
    """A tool in the form of an API."""
    function = {"name": f"f{n}", "parameters": {}}
    if path == MESSAGES:
        return {"name": f"f{n}", "input_schema": {"type": "object"}}
    return {"type": "function", **function} if path == RESPONSES else tool(n)


@pytest.mark.parametrize("path", BODIES)
async def test_e42_what_is_nested_too_deeply(web: httpx.AsyncClient, path: str):
    start = json.dumps(BODIES[path])[:-1].encode()
    for field in ("tools", "metadata", "unknown"):
        deep = b"[" * 10_000 + b"]" * 10_000
        answer = await post(web, path, start + b', "' + field.encode() + b'": ' + deep + b"}")
        assert answer.status_code in (400, 200), answer.text


SLOW = pytest.mark.parametrize("many", [100, pytest.param(1000, marks=pytest.mark.long)])


@SLOW
async def test_e46_who_sends_a_byte_at_a_time_slows_nobody(
    served: Served, web: httpx.AsyncClient, many: int
):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1000000\r\nHost: "
    head += f"127.0.0.1:{served.port}".encode() + b"\r\n\r\n{"
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        slow = [stack.enter_context(opened(served.port)) for _ in range(many)]
        for number, each in enumerate(slow):  # Some hang in the head, some in the body.
            each.sendall(head[: len(head) if number % 2 else 20])
        for _ in range(5):
            for each in slow:
                each.sendall(b" ")
            await answered_soon(web)
        assert psutil.Process().memory_info().rss - before < 200_000_000
    await answered_soon(web)


@SLOW
async def test_e46_who_never_reads_slows_nobody_and_holds_little(
    served: Served, said: Knowing, web: httpx.AsyncClient, many: int
):
    said.scripts = ["word " * 2000]
    body = json.dumps({"messages": HELLO, "stream": True, "max_tokens": 2000}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        for _ in range(many):
            stack.enter_context(opened(served.port)).sendall(head.encode() + body)
        for _ in range(5):
            await answered_soon(web)
        assert psutil.Process().memory_info().rss - before < 200_000_000


def opened(port: int) -> socket.socket:
    """A connection from which nothing is read."""
    return socket.create_connection(("127.0.0.1", port))


async def answered_soon(web: httpx.AsyncClient) -> None:
    """A new client is served, after a moment where the queue is full."""
    async with asyncio.timeout(20):
        ask = b'{"prompt": "Hello?", "max_tokens": 2}'
        while (answer := await post(web, TEXT, ask)).status_code == 429:
            await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text


HUGE = 10**30
CALLERS: dict[str, Callable[[], tuple[str, Any]]] = {
    "a number in a tool": lambda: (
        CHAT,
        {"messages": HELLO, "tools": [tool(0, parameters={"maximum": HUGE})]},
    ),
    "a number as a choice of tools": lambda: (CHAT, {"messages": HELLO, "tool_choice": HUGE}),
    "a number in a tool of Anthropic's": lambda: (
        MESSAGES,
        {
            "max_tokens": 9, "messages": HELLO,
            "tools": [{"name": "f", "input_schema": {"type": "object", "maximum": HUGE}}],
        },
    ),
    "a number in a tool of a response": lambda: (
        RESPONSES,
        {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": {"n": HUGE}}]},
    ),
    "more than a draft holds": lambda: (
        CHAT,
        {"messages": [{"role": "user", "content": "x" * 40_000_000}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLERS)
async def test_what_a_caller_sends_is_nobody_elses_failure(
    web: httpx.AsyncClient, served: Served, what: str
):
    path, body = CALLERS[what]()
    answer = await post(web, path, json.dumps(body).encode())
    assert answer.status_code == 400, answer.text
    assert served.app.kernel.trouble == {}
    for _ in range(3):
        await post(web, path, json.dumps(body).encode())
    assert (await web.post(CHAT, json={"messages": HELLO})).status_code == 200
    assert served.app.kernel.trouble == {}


@pytest.mark.parametrize("after", ["", "%0A", "%0D", "%00", "/", "//", "%2F", "?x", ";", "%20"])
async def test_what_is_for_who_may_do_everything_is_for_nobody_else(served: Served, after: str):
    """However an address is written, the door and the router behind it see the same one."""
    limited = f"sk-{secrets.token_urlsafe(32)}"
    hash = hashlib.sha256(limited.encode()).hexdigest()
    served.keyring.keep([Key("limited", hash, "generate")])
    apis = served.app.kernel.registry.values(APIS)
    routes = {(e.method, e.path) for api in apis for e in api.endpoints if e.admin}
    assert ("POST", "/v1/internal/model/unload") in routes
    async with httpx.AsyncClient(base_url=served.http) as web:
        for method, path in routes:
            for headers in ({}, {"authorization": f"Bearer {limited}"}):
                answer = await web.request(method, path + after, headers=headers)
                assert answer.status_code >= 300, (path, answer.text)
    assert served.app.kernel.slot().model
