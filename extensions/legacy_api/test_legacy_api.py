"""What old programs see: real HTTP and WebSockets, a scripted model."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from extensions.api_kit.api import PROGRAMS
from extensions.models.api import MODELS
from kernel.api import LOADERS, Changed, LoadFailed, Refused
from kernel.testing import App, Scripted, running
from tests.live import free_port, live
from tests.sockets import Served, serving

ROWS = [["Hi", "Hello <you>."], ["How?", "So."]]
SHOWN = [["Hi", "Hello &lt;you&gt;."], ["How?", "So."]]
HISTORY = {"internal": ROWS, "visible": SHOWN}
SCRIPT = {
    "prompt": "Once", "max_new_tokens": 250, "auto_max_new_tokens": False, "max_tokens_second": 0,
    "preset": "None", "do_sample": True, "temperature": 0.7, "top_p": 0.1, "typical_p": 1,
    "epsilon_cutoff": 0, "eta_cutoff": 0, "tfs": 1, "top_a": 0, "repetition_penalty": 1.18,
    "repetition_penalty_range": 0, "top_k": 40, "min_length": 0, "no_repeat_ngram_size": 0,
    "num_beams": 1, "penalty_alpha": 0, "length_penalty": 1, "early_stopping": False,
    "mirostat_mode": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "grammar_string": "",
    "guidance_scale": 1, "negative_prompt": "", "seed": -1, "add_bos_token": True,
    "truncation_length": 2048, "ban_eos_token": False, "custom_token_bans": "",
    "skip_special_tokens": True, "stopping_strings": [],
}  # fmt: skip
"""What such a program sends, all fields of it."""


class Counting(Scripted):
    """Has a token for each letter, and a template."""

    async def call(self, name: str, **data: Any) -> Any:
        match name:
            case "tokenize":
                return [1, *map(ord, data["text"])]
            case "detokenize":
                return "".join(map(chr, data["token_ids"]))
            case "template":
                return "\n".join(f"{m['role']}: {m['parts'][0]['text']}" for m in data["messages"])
            case _:
                return await super().call(name, **data)


@pytest.fixture
def model() -> Scripted:
    return Counting(" upon <a> time.")


@pytest.fixture
async def app(model: Scripted) -> AsyncIterator[App]:
    async with running("legacy_api", "instruct", model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def post(served: Served, path: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.post(f"{served.http}/api/v1/{path}", json=body, headers=headers)


def socket(served: Served, path: str, **headers: str) -> connect:
    address = f"ws://127.0.0.1:{served.port}/api/v1/{path}"
    return connect(address, proxy=None, additional_headers=headers, max_queue=None)


async def heard(program: ClientConnection) -> list[dict[str, Any]]:
    """Events up to the end of a stream."""
    events = [json.loads(await program.recv())]
    async with asyncio.timeout(20):
        while events[-1]["event"] != "stream_end":
            events.append(json.loads(await program.recv()))
    return events


async def test_a_text_goes_on(served: Served, model: Scripted):
    answer = await post(served, "generate", **SCRIPT)
    assert answer.json() == {"results": [{"text": " upon <a> time."}]}
    said = model.asked[0].sampling
    assert (said.temperature, said.top_p, said.top_k) == (0.7, 0.1, 40)
    assert (said.repetition_penalty, said.max_new_tokens) == (1.18, 250)


async def test_what_is_left_out_is_as_it_was(served: Served, model: Scripted):
    await post(served, "generate", prompt="Once", typical=0.5, rep_pen=1.2, max_length=9)
    await post(served, "generate", prompt="Once", stopping_strings=["END"])
    first, second = (request.sampling for request in model.asked)
    assert (first.typical_p, first.repetition_penalty, first.max_new_tokens) == (0.5, 1.2, 9)
    assert (second.temperature, second.repetition_penalty, second.max_new_tokens) == (0.5, 1.1, 200)
    assert second.custom_stopping_strings == ("END",)


async def test_a_preset_lies_over_what_is_said(served: Served, model: Scripted):
    await post(served, "generate", **{**SCRIPT, "preset": "min_p"})
    assert model.asked[0].sampling.min_p == 0.05
    assert model.asked[0].sampling.top_p == 1.0
    assert model.asked[0].sampling.max_new_tokens == 250


MANY = [["a", "b"]] * 10_001
WRONG: list[tuple[str, dict[str, Any], str | None]] = [
    ("generate", {"max_new_tokens": 3}, "prompt"),
    ("generate", {"prompt": 3}, "prompt"),
    ("generate", {"prompt": "x", "temperature": "hot"}, "temperature"),
    ("generate", {"prompt": "x", "preset": "No such"}, "preset"),
    ("chat", {}, "user_input"),
    ("chat", {"user_input": "x", "history": {"internal": [["a"]]}}, "history.internal[0]"),
    ("chat", {"user_input": "x", "history": {"internal": MANY}}, "history.internal"),
    ("chat", {"user_input": "x", "history": {"internal": [], "visible": MANY}}, "history.visible"),
    ("chat", {"user_input": "x", "mode": "cai"}, "mode"),
    ("chat", {"user_input": "x", "regenerate": True}, "regenerate"),
    ("chat", {"user_input": "x", "_continue": True}, "_continue"),
    ("chat", {"user_input": "x", "turn_template": "a"}, "turn_template"),
    ("chat", {"user_input": "x", "mode": "chat", "character": "Nobody"}, "mode"),
    ("chat", {"user_input": "x", "mode": "instruct", "instruction_template": "No"}, None),
    ("token-count", {"prompt": 3}, "prompt"),
    ("model", {"action": "explode"}, "action"),
    ("model", {"action": 3}, "action"),
]  # fmt: skip
"""Where, what is sent there, and the field that the answer names."""


async def test_what_is_wrong_is_named(served: Served):
    for path, body, param in WRONG:
        answer = await post(served, path, **body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (path, body)


async def test_a_conversation_goes_on(served: Served, model: Scripted):
    body = {"user_input": "And <now>?", "history": HISTORY, "your_name": "You"}
    answer = await post(served, "chat", **body, mode="chat", character="None", preset="None")
    [result] = answer.json()["results"]
    assert result["history"] == {
        "internal": [*ROWS, ["And <now>?", " upon <a> time."]],
        "visible": [*SHOWN, ["And &lt;now&gt;?", " upon &lt;a&gt; time."]],
    }
    told = [(message.role, message.text) for message in model.asked[0].messages or ()]
    assert told == [
        ("user", "Hi"), ("assistant", "Hello <you>."), ("user", "How?"), ("assistant", "So."),
        ("user", "And <now>?"),
    ]  # fmt: skip


async def test_an_answer_is_written_anew_or_goes_on(served: Served, model: Scripted):
    body = {"user_input": "", "history": HISTORY, "mode": "instruct"}
    answer = await post(served, "chat", **body, regenerate=True)
    [result] = answer.json()["results"]
    assert result["history"]["internal"] == [ROWS[0], ["How?", " upon <a> time."]]
    assert result["history"]["visible"] == [SHOWN[0], ["How?", " upon &lt;a&gt; time."]]
    assert [message.text for message in model.asked[-1].messages or ()][-1] == "How?"
    answer = await post(served, "chat", **body, _continue=True)
    [result] = answer.json()["results"]
    assert result["history"]["internal"][-1] == ["How?", "So. upon <a> time."]
    assert result["history"]["visible"][-1] == ["How?", "So. upon &lt;a&gt; time."]
    assert model.asked[-1].continue_


async def test_what_a_conversation_may_say_besides(served: Served, model: Scripted):
    begun = {"internal": [["<|BEGIN-VISIBLE-CHAT|>", "Welcome."]], "visible": [["", "Welcome."]]}
    answer = await post(
        served, "chat", user_input="Hi", history=begun, mode="instruct",
        context_instruct="Be kind.", instruction_template="ChatML", stop_at_newline=True,
        chat_generation_attempts=1,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    request = model.asked[0]
    told = [(message.role, message.text) for message in request.messages or ()]
    assert told == [("system", "Be kind."), ("assistant", "Welcome."), ("user", "Hi")]
    assert "im_start" in request.template
    assert "\n" in request.sampling.custom_stopping_strings  # type: ignore[operator]


CARD = "name: Chiharu\ncontext: Chiharu is calm.\ngreeting: Hello.\n"


async def test_a_character_speaks(tmp_path: Path):
    model = Counting(" Fine.", samplers=("custom_stopping_strings",))
    data = tmp_path / "data"
    async with running(
        "legacy_api", "roleplay", "chat_instruct", "instruct", model=model, data=data
    ) as app:
        app.kernel.characters.mkdir(parents=True, exist_ok=True)
        (app.kernel.characters / "Chiharu.yaml").write_text(CARD)
        async with serving(app) as served:
            body = {"user_input": "How?", "character": "Chiharu", "your_name": "Ada"}
            answer = await post(served, "chat", **body, mode="chat")
            assert answer.status_code == 200, answer.text
            [result] = answer.json()["results"]
            assert result["history"]["internal"] == [["How?", "Fine."]]
            request = model.asked[0]
            assert request.messages
            assert "calm" in request.messages[0].text
            stops = request.sampling.custom_stopping_strings
            assert {"\nAda:", "\nChiharu:"} <= set(stops)  # type: ignore[arg-type]
            for commands, asks in (
                ({"chat-instruct_command": "Go on as <|character|>: <|prompt|>"}, "Go on as"),
                ({"chat_instruct_command": "Speak as <|character|>: <|prompt|>"}, "Speak as"),
                ({"chat-instruct_command": "A <|prompt|>", "chat_instruct_command": "B"}, "B"),
            ):
                answer = await post(served, "chat", **body, mode="chat-instruct", **commands)
                assert answer.status_code == 200, answer.text
                assert model.asked[-1].messages
                assert model.asked[-1].messages[-2].text.startswith(asks), commands
            nobody = await post(served, "chat", **{**body, "character": "Nobody"})
            assert nobody.status_code == 400
            assert "Nobody" in nobody.json()["error"]["message"]


async def test_tokens_are_counted(served: Served):
    answer = await post(served, "token-count", prompt="abc")
    assert answer.json() == {"results": [{"tokens": 4}]}
    answer = await post(served, "token/encode", input="ab")
    assert answer.json() == {"results": [{"tokens": [1, 97, 98], "length": 3}]}
    answer = await post(served, "token/decode", input=[97, 98])
    assert answer.json() == {"results": [{"text": "ab"}]}
    wrong = await post(served, "token/decode", input="ab")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "input")


# --- models ----------------------------------------------------------------------------------


async def test_models(served: Served):
    async with httpx.AsyncClient(timeout=60) as web:
        name = await web.get(f"{served.http}/api/v1/model")
    assert name.json() == {"result": "scripted"}
    said = (await post(served, "model", action="info")).json()["result"]
    assert (said["model_name"], said["lora_names"]) == ("scripted", [])
    assert said["shared.settings"]["truncation_length"] == 4096
    assert (await post(served, "model", action="list")).json() == {"result": []}


async def test_loading_needs_the_key(app: App, served: Served):
    for action in ("load", "unload"):
        answer = await post(served, "model", action=action, model_name="x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_key_needed")
    assert app.kernel.slot().model
    unknown = await post(served, "model", key=served.key, action="load", model_name="../x")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "model_name")
    answer = await post(served, "model", key=served.key, action="unload")
    assert answer.json()["result"]["model_name"] == "None"
    assert not app.kernel.slot().model


async def test_the_loaded_model_is_called_as_it_is_listed(
    app: App, served: Served, model: Scripted
):
    for file in ("tiny.gguf", "twins/tiny.gguf"):
        path = app.kernel.models / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        model.info = structs.replace(model.info, name="tiny", path=str(path))
        loaded = await post(served, "model", key=served.key, action="load", model_name=file)
        name = loaded.json()["result"]["model_name"]
        assert name in (await post(served, "model", action="list")).json()["result"]
        async with httpx.AsyncClient(timeout=60) as web:
            told = await web.get(f"{served.http}/api/v1/model")
        assert told.json() == {"result": name}
    assert name == "twins/tiny.gguf", "tiny is the other"


async def test_a_model_is_listed_and_loaded(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    for file in ("tiny.gguf", "twins/tiny.gguf"):
        (app.kernel.models / file).parent.mkdir(parents=True, exist_ok=True)
        (app.kernel.models / file).write_bytes(b"x")
    [models] = app.kernel.registry.values(MODELS)
    app.kernel.bus.emit(Changed(LOADERS.name))  # Without a page nobody looks at the folder.
    await app.until(lambda: bool(models.files))
    listed = (await post(served, "model", action="list")).json()
    assert listed == {"result": ["tiny", "twins", "twins/tiny.gguf"]}
    body = {"action": "load", "model_name": "tiny"}
    answer = await post(served, "model", key=served.key, **body)
    assert answer.json()["result"]["model_name"] == "scripted", answer.text
    assert app.kernel.slot().state.name == "tiny"
    refused = await post(served, "model", key=served.key, **body, args={"n_ctx": "many"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "args")
    reasons = {400: Refused("no"), 500: OSError("gone")}
    for status, why in reasons.items():

        async def load(*args: Any, why: Exception = why, **more: Any) -> None:
            raise LoadFailed("It did not load.") from why

        monkeypatch.setattr(models, "load", load)
        answer = await post(served, "model", key=served.key, **body)
        said = answer.json()["error"]
        assert (answer.status_code, said["param"]) == (status, "model_name")
        assert (said["code"], said["message"]) == ("load_failed", "It did not load.")


# --- word by word ----------------------------------------------------------------------------


async def test_words_of_a_text(served: Served):
    async with socket(served, "stream") as program:
        for _ in range(2):  # The connection stays for another request.
            await program.send(json.dumps(SCRIPT))
            *events, last = await heard(program)
            assert [each["text"] for each in events] == [" upon", " <a>", " time."]
            assert [each["message_num"] for each in events] == [0, 1, 2]
            assert last == {"event": "stream_end", "message_num": 3}


async def test_words_of_a_conversation(served: Served):
    async with socket(served, "chat-stream") as program:
        await program.send(json.dumps({"user_input": "Now?", "history": HISTORY}))
        *events, last = await heard(program)
    replies = [each["history"]["internal"][-1] for each in events]
    assert replies == [
        ["Now?", " upon"], ["Now?", " upon <a>"], ["Now?", " upon <a> time."],
    ]  # fmt: skip
    assert events[-1]["history"]["visible"][-1] == ["Now?", " upon &lt;a&gt; time."]
    assert last["event"] == "stream_end"


@pytest.mark.parametrize(
    ("path", "frame", "param"),
    [
        ("stream", '{"prompt": 3}', "prompt"),
        ("stream", "{", None),
        ("stream", "[]", None),
        ("chat-stream", '{"user_input": 3}', "user_input"),
    ],
)
async def test_what_is_wrong_ends_the_connection(
    served: Served, path: str, frame: str, param: str | None
):
    async with socket(served, path) as program:
        await program.send(frame)
        said = json.loads(await program.recv())
        assert (said["event"], said["error"]["param"]) == ("error", param)
        with pytest.raises(ConnectionClosed):
            await program.recv()


async def test_a_page_of_another_site_gets_no_socket(served: Served):
    with pytest.raises(Exception, match="403"):
        async with socket(served, "stream", Origin="http://evil.test"):
            pass


async def test_a_request_that_is_no_text_is_read_all_the_same(served: Served):
    async with socket(served, "stream") as program:
        await program.send(json.dumps(SCRIPT).encode())
        assert len(await heard(program)) == 4


class Slow:
    """A model that says a word for each release."""

    def __init__(self, served: Served, gate: asyncio.Semaphore) -> None:
        self.served, self.gate = served, gate

    async def runs(self, count: int) -> None:
        """Wait until so many are under way."""
        [programs] = self.served.app.kernel.registry.values(PROGRAMS)
        await self.served.app.until(lambda: len(programs.runs.live) == count)

    def ask(self, key: str = "", **body: Any) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(post(self.served, "generate", key, **{**SCRIPT, **body}))


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    gate = asyncio.Semaphore(0)
    settings: Mapping[str, Any] = {"api_kit": {"at_once": 4}}
    model = Scripted(" one two.", gate=gate)
    async with (
        running("legacy_api", model=model, settings=settings) as app,
        serving(app) as served,
    ):
        yield Slow(served, gate)


async def test_stop_is_for_the_callers_own_alone(slow: Slow):
    mine, other = slow.ask(), slow.ask(slow.served.key)
    async with socket(slow.served, "stream") as program:
        await program.send(json.dumps(SCRIPT))
        await slow.runs(3)
        answer = await post(slow.served, "stop-stream")
        assert answer.json() == {"results": "success"}
        assert (await mine).json()["results"] == [{"text": ""}]
        assert (await heard(program))[-1]["event"] == "stream_end"
        assert not other.done()
    for _ in range(5):
        slow.gate.release()
    assert (await other).json()["results"] == [{"text": " one two."}]


async def test_who_leaves_frees_the_engine(slow: Slow):
    async with socket(slow.served, "stream") as program:
        await program.send(json.dumps(SCRIPT))
        await slow.runs(1)
    await slow.runs(0)
    task = slow.ask()
    await slow.runs(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await slow.runs(0)


async def test_a_failure_after_the_first_word_is_an_event(slow: Slow):
    async with socket(slow.served, "stream") as program:
        await program.send(json.dumps(SCRIPT))
        slow.gate.release()
        assert json.loads(await program.recv())["text"] == " one"
        model = slow.served.app.kernel.slot().model
        assert isinstance(model, Scripted)
        model.die("The engine stopped.")
        said = json.loads(await program.recv())
        assert said["event"] == "error"
        assert "engine stopped" in said["error"]["message"]
        with pytest.raises(ConnectionClosed):
            await program.recv()


# --- its own ports -----------------------------------------------------------------------------


async def test_the_flag_opens_the_old_ports_and_one_that_is_taken_is_told(tmp_path: Path):
    old, taken = free_port(), await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    busy = taken.sockets[0].getsockname()[1]
    (models := tmp_path / "none").mkdir()
    flags = ("--api", "--api-blocking-port", str(old), "--api-streaming-port", str(busy))
    flags += ("--model-dir", str(models))
    async with taken, live(tmp_path / "data", tmp_path, "--extensions", "legacy_api", *flags) as it:
        assert f"Port {busy} cannot be had" in it.said
        async with httpx.AsyncClient(timeout=60) as web:
            for port in (old, it.port):
                name = await web.get(f"http://127.0.0.1:{port}/api/v1/model")
                assert name.json() == {"result": "None"}
            evil = {"host": "evil.test"}
            refused = await web.get(f"http://127.0.0.1:{old}/api/v1/model", headers=evil)
            assert refused.status_code == 403
        async with connect(f"ws://127.0.0.1:{old}/api/v1/stream", proxy=None) as program:
            await program.send(json.dumps(SCRIPT))
            assert json.loads(await program.recv())["error"]["code"] == "no_model"


async def test_without_the_flag_no_other_port_is_opened(tmp_path: Path):
    old = free_port()
    flags = ("--extensions", "legacy_api", "--api-blocking-port", str(old))
    async with live(tmp_path / "data", tmp_path, *flags), httpx.AsyncClient() as web:
        with pytest.raises(httpx.ConnectError):
            await web.get(f"http://127.0.0.1:{old}/api/v1/model")
