"""Routes beside OpenAI's: tokens, prompts, stopping, models and adapters, and who may do what."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.api_kit.api import PROGRAMS
from extensions.models.api import Models
from kernel.api import Refused, WorkerError
from kernel.testing import App, running
from kernel.testing.scripted import ScriptedLoader
from tests.ggufs import a_gguf
from tests.programs import Knowing, ask, fault, said
from tests.sockets import Served, serving

LORA = Path(__file__).parents[2] / "tests" / "data" / "lora-stories260K"
INTERNAL = "/v1/internal/"
FRIEND = "spindle-friend-0123456789abcdef"
HELLO = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def model() -> Knowing:
    return Knowing("One two.")


@pytest.fixture
async def app(model: Knowing, tmp_path: Path) -> AsyncIterator[App]:
    for name in ("first.gguf", "second.gguf"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / name).write_bytes(b"GGUF")
    (tmp_path / "secrets").mkdir()
    digest = hashlib.sha256(FRIEND.encode()).hexdigest()
    kept = [{"name": "friend", "hash": digest, "scope": "generate", "made": 1}]
    (tmp_path / "secrets" / "keys.json").write_text(json.dumps(kept))
    (tmp_path / "loras" / "deep").mkdir(parents=True)
    shutil.copyfile(LORA / "lora-shakespeare-f32.gguf", tmp_path / "loras" / "one.gguf")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(LORA / name, tmp_path / "loras" / "deep" / name)
    async with running("openai_api", "instruct", model=model, data=tmp_path) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def get(served: Served, path: str, key: str = "") -> Any:
    answer = await ask(served, "GET", path, key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_tokens_of_texts(served: Served, model: Knowing):
    encoded = await said(served, INTERNAL + "encode", text="a b c")
    assert encoded == {"tokens": [0, 1, 3, 4], "length": 4}
    assert await said(served, INTERNAL + "token-count", text="a b c") == {"length": 4}
    assert await said(served, INTERNAL + "decode", tokens=[1, 3]) == {"text": "a b"}
    plain = {"text": "a b c", "add_bos_token": False, "encode_special_tokens": False}
    assert await said(served, "/v1/token/encode", **plain) == {"tokens": [1, 3, 4], "length": 3}
    assert await said(served, "/v1/token/decode", tokens=[1, 3]) == {"text": "a b"}
    for path, body, param in (
        ("encode", {"text": 7}, "text"),
        ("decode", {"tokens": "a"}, "tokens"),
        ("token-count", {}, "text"),
        ("logits", {"prompt": "a", "top_logits": 0}, "top_logits"),
    ):
        assert (await fault(served, INTERNAL + path, **body))["param"] == param
    likely = await said(served, INTERNAL + "logits", prompt="Well?", temperature=0.5)
    assert likely == {" yes": 0.75, " no": 0.25}
    likely = await said(served, INTERNAL + "logits", prompt="Well?", use_samplers=True)
    assert likely == {" yes": 1.0, " no": 0.0}
    for constraint in (
        {"grammar_string": 'root ::= "no"'},
        {"json_schema": {"type": "object"}},
        {"response_format": {"type": "json_object"}},
    ):
        body = {"prompt": "Well?", "use_samplers": True, **constraint}
        wrong = await fault(served, INTERNAL + "logits", **body)
        assert wrong["param"] == "use_samplers"
        assert "without a grammar or a JSON schema" in wrong["message"]
        free = {**body, "use_samplers": False}
        assert await said(served, INTERNAL + "logits", **free) == {" yes": 0.75, " no": 0.25}


async def test_the_prompt_of_a_conversation(served: Served, model: Knowing):
    body = {"messages": HELLO, "custom_system_message": "Be brief."}
    prompt = await said(served, INTERNAL + "chat-prompt", **body)
    assert prompt == {"prompt": "system: Be brief.\nuser: Hi\nassistant:"}
    assert not model.asked
    assert await get(served, INTERNAL + "health") == {"status": "ok"}


async def test_who_is_not_an_administrator_only_generates(served: Served):
    key = FRIEND
    changes = (
        ("internal/model/load", {"model_name": "first.gguf"}), ("internal/model/unload", {}),
        ("internal/lora/load", {"lora_names": []}), ("internal/lora/unload", {}),
        ("models/load", {"model": "first"}), ("models/unload", {"model": "scripted"}),
    )  # fmt: skip
    for path, body in changes:
        for carried, status, code in (
            ("", 401, "invalid_api_key"),
            (key, 403, "insufficient_scope"),
        ):
            answer = await ask(served, "POST", f"/v1/{path}", carried, **body)
            assert answer.status_code == status, path
            assert answer.json()["error"]["code"] == code
    assert await get(served, "/v1/auth/permission", key) == {"permission": "api"}
    assert await get(served, "/v1/auth/permission", served.key) == {"permission": "admin"}
    assert (await get(served, INTERNAL + "model/info"))["model_name"] == "scripted"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused("Put it beside."), 400),
        (WorkerError("Put it beside.", ""), 400),
        (WorkerError("Put it beside."), 500),
    ],
)
async def test_a_load_that_is_refused_is_no_fault_of_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
):
    async def refuse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(ScriptedLoader, "open", refuse)
    for path, name in (("internal/model/load", "model_name"), ("models/load", "model")):
        answer = await ask(served, "POST", f"/v1/{path}", served.key, **{name: "first.gguf"})
        assert answer.status_code == status, path
        told = answer.json()["error"]
        assert told["code"] == "load_failed"
        assert "Put it beside." in told["message"]


async def test_a_load_is_told_that_another_choice_replaced_it(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    opens, slowly = ScriptedLoader.open, asyncio.Event()

    async def hang(self: ScriptedLoader, path: Path, options: Any, report: Any) -> Any:
        if path.stem == "first":
            slowly.set()
            await asyncio.Event().wait()
        return await opens(self, path, options, report)

    monkeypatch.setattr(ScriptedLoader, "open", hang)
    for path, name in (("internal/model/load", "model_name"), ("models/load", "model")):
        slowly.clear()
        load = partial(ask, served, "POST", f"/v1/{path}", served.key)
        first = asyncio.create_task(load(**{name: "first.gguf"}))
        await slowly.wait()
        assert (await load(**{name: "second.gguf"})).status_code == 200
        answer = await first
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "load_replaced"
        assert "Another choice" in answer.json()["error"]["message"]
        slowly.clear()
        first = asyncio.create_task(load(**{name: "first.gguf"}))
        await slowly.wait()
        await app.kernel.slot().cancel()
        answer = await first
        assert answer.status_code == 500
        assert "The loading was cancelled" in answer.json()["error"]["message"]


async def test_models_are_loaded_and_unloaded(app: App, served: Served, model: Knowing):
    async def change(path: str, **body: Any) -> Any:
        return await ask(served, "POST", f"/v1/{path}", served.key, **body)

    names = (await get(served, INTERNAL + "model/list"))["model_names"]
    assert names == ["first.gguf", "second.gguf"]
    loaded = await change(
        "internal/model/load", model_name="first.gguf", args={"loader": "Scripted"}
    )
    assert (loaded.status_code, loaded.json()) == (200, "OK")
    [stated] = [
        m for m in (await get(served, "/v1/models"))["data"] if m["status"]["value"] == "loaded"
    ]
    assert (await get(served, "/v1/model"))["id"] == stated["id"] == "scripted"
    wrong = await change("internal/model/load", model_name="first.gguf", args={"n_ctx": 5})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "args.n_ctx")
    wrong = await change("internal/model/load", model_name="../first.gguf")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (404, "model_name")
    wrong = await change("internal/model/load", model_name="first.gguf", args={"loader": "none"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "args.loader")
    assert (await change("models/unload", model="second")).status_code == 400
    assert (await change("models/unload", model="scripted")).json() == {"success": True}
    info = {"model_name": "None", "lora_names": [], "loader": ""}
    assert await get(served, INTERNAL + "model/info") == info
    assert (await ask(served, "GET", "/v1/model")).status_code == 503
    assert (await fault(served, INTERNAL + "encode", text="a"))["status"] == 503
    assert (await change("models/load", model="second")).json() == {"success": True}
    assert (await change("internal/model/unload")).json() == "OK"


async def test_what_a_program_of_text_generation_webui_sends_beside_a_model_is_no_obstacle(
    served: Served,
):
    async def load(**body: Any) -> Any:
        path = INTERNAL + "model/load"
        return await ask(served, "POST", path, served.key, model_name="first.gguf", **body)

    args = {"tensorcores": True, "n_gqa": 8, "cpu": False, "model_draft": "None"}
    settings = {"preset": "min_p", "truncation_length": 2048}
    loaded = await load(args=args, settings=settings)
    assert (loaded.status_code, loaded.json()) == (200, "OK"), loaded.text
    for wrong in ({"load_in_4bit": True}, {"extra_flags": "--x"}, {"n_ctx": 0}):
        refused = (await load(args=wrong)).json()["error"]
        assert refused["param"] == f"args.{next(iter(wrong))}"


async def test_the_loaded_model_is_called_as_it_is_listed(app: App, served: Served, model: Knowing):
    for name in ("first.gguf", "folder/third.gguf"):
        path = app.kernel.models / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"GGUF")
        model.info = structs.replace(model.info, name=path.stem, path=str(path))
        loaded = await ask(served, "POST", INTERNAL + "model/load", served.key, model_name=name)
        assert loaded.status_code == 200, loaded.text
        assert (await get(served, INTERNAL + "model/info"))["model_name"] == name
        assert name in (await get(served, INTERNAL + "model/list"))["model_names"]


async def test_models_are_listed_as_engines_for_programs_of_2023(served: Served):
    engines = await get(served, "/v1/engines")
    assert engines["object"] == "list"
    assert [(each["id"], each["ready"]) for each in engines["data"]] == [
        ("scripted", True), ("first", False), ("second", False),
    ]  # fmt: skip


async def test_a_model_that_comes_while_no_page_is_open(app: App, served: Served):
    (app.kernel.models / "new").mkdir()
    (app.kernel.models / "new" / "third.gguf").write_bytes(b"GGUF")
    loaded = await ask(served, "POST", "/v1/models/load", served.key, model="third")
    assert loaded.status_code == 200, loaded.text
    (app.kernel.models / "new" / "fourth.gguf").write_bytes(b"GGUF")
    os.utime(app.kernel.models / "new", (1, 1))  # Clocks of file systems are coarse.
    names = (await get(served, INTERNAL + "model/list"))["model_names"]
    assert names == ["first.gguf", "new", "new/fourth.gguf", "new/third.gguf", "second.gguf"]


async def test_the_context_that_a_model_was_trained_with(app: App, served: Served, model: Knowing):
    async def meta() -> Any:
        return (await get(served, "/v1/models"))["data"][0]["meta"]

    assert await meta() == {"n_vocab": 1000}, "nothing is made up"
    path = app.kernel.models / "long.gguf"
    path.write_bytes(a_gguf({"llama.context_length": 32768}))
    model.info = structs.replace(model.info, path=str(path))
    await ask(served, "POST", "/v1/models/load", served.key, model="long")
    async with asyncio.timeout(20):
        while "n_ctx_train" not in await meta():  # Its header is read beside.
            await asyncio.sleep(0.01)
    assert await meta() == {"n_vocab": 1000, "n_ctx_train": 32768}
    assert (await get(served, "/v1/models"))["data"][0]["context_length"] == 4096


async def test_a_folder_that_is_called_as_a_file_is_loaded_by_its_listed_name(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    loaded: list[str] = []

    async def load(self: Any, name: str, *more: Any) -> None:
        loaded.append(name)

    monkeypatch.setattr(Models, "load", load)
    (app.kernel.models / "first").mkdir()
    (app.kernel.models / "first" / "third.gguf").write_bytes(b"GGUF")
    assert "first" in (await get(served, INTERNAL + "model/list"))["model_names"]
    for name in ("first", "first.gguf"):
        answer = await ask(served, "POST", INTERNAL + "model/load", served.key, model_name=name)
        assert answer.status_code == 200, answer.text
    assert loaded == ["first", "first.gguf"]


async def test_a_template_that_comes_with_a_model(served: Served, model: Knowing):
    model.info = structs.replace(model.info, chat_template="")
    body = {"model_name": "first.gguf", "instruction_template": "ChatML"}
    loaded = await ask(served, "POST", INTERNAL + "model/load", served.key, **body)
    assert loaded.status_code == 200, loaded.text
    await said(served, "/v1/chat/completions", messages=HELLO)
    await said(served, "/v1/chat/completions", messages=HELLO, instruction_template_str="mine")
    await ask(served, "POST", "/v1/models/load", served.key, model="second")
    await said(served, "/v1/chat/completions", messages=HELLO)
    first, second, third = (request.template for request in model.asked)
    assert "<|im_start|>" in first
    assert second == "mine"
    assert "### Instruction:" in third  # As for any model that says nothing of its own.


async def test_adapters(app: App, served: Served, model: Knowing):
    async def load(*names: str) -> Any:
        return await ask(served, "POST", INTERNAL + "lora/load", served.key, lora_names=names)

    listed = await get(served, INTERNAL + "lora/list")
    assert listed == {"lora_names": ["deep", "one"]}
    assert (await load("one")).json()["error"]["param"] == "lora_names"  # It takes none.
    model.info = structs.replace(model.info, capabilities=("text", "lora"))
    await app.load(model)
    assert (await load("../one")).json()["error"]["code"] == "lora_not_found"
    assert (await load("one")).json() == "OK"
    await said(served, "/v1/completions", prompt="a")
    assert (await get(served, INTERNAL + "model/info"))["lora_names"] == ["one"]
    page = await app.open("/models/loras")
    await page.until("Applied to <b>scripted</b>: one")
    await app.load(model)
    await said(served, "/v1/completions", prompt="a")
    await load("one", "deep")
    await ask(served, "POST", INTERNAL + "lora/unload", served.key)
    await said(served, "/v1/completions", prompt="a")
    assert [request.adapters for request in model.asked] == [(("one", 1.0),), (), ()]


async def test_who_names_an_adapter_where_there_is_none_is_told_where_to_put_one(app: App):
    shutil.rmtree(app.kernel.loras)
    body = {"lora_names": ["my lora"]}
    answer = await app.fetch(INTERNAL + "lora/load", "POST", who="key", json=body)
    says = "lora_names: There is no adapter my lora. Put one below loras/."
    assert answer.json()["error"]["message"] == says


async def test_who_stops_stops_only_its_own(app: App, served: Served, model: Knowing):
    model.gate = asyncio.Semaphore(0)
    path, body = "/v1/completions", {"prompt": "a", "stream": True}
    async with asyncio.TaskGroup() as group:
        mine = group.create_task(ask(served, "POST", path, served.key, **body))
        theirs = group.create_task(ask(served, "POST", path, "", **body))
        await app.until(lambda: len(model.asked) == 1)
        model.gate.release()
        await ask(served, "POST", INTERNAL + "stop-generation", served.key)
        await app.until(mine.done)
        for _ in range(5):
            model.gate.release()
    assert "two." in theirs.result().text
    assert "two." not in mine.result().text


async def test_who_waits_for_the_model_that_it_named_is_stopped_before_it_loads(
    app: App, served: Served, model: Knowing
):
    await app.configure("openai_api", load_by_name=True)
    [programs] = app.kernel.registry.values(PROGRAMS)
    model.gate = asyncio.Semaphore(0)
    path = "/v1/completions"
    theirs = asyncio.create_task(ask(served, "POST", path, prompt="a"))
    await app.until(lambda: len(model.asked) == 1)
    mine = asyncio.create_task(ask(served, "POST", path, served.key, prompt="a", model="second"))
    await app.until(lambda: programs.holding.waiting)
    await ask(served, "POST", INTERNAL + "stop-generation", served.key)
    answer = await mine
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cancelled")
    assert app.kernel.slot().state.name != "second"
    for _ in range(5):
        model.gate.release()
    assert (await theirs).status_code == 200


async def test_who_stops_while_the_model_that_it_named_loads_gets_it_and_its_reply(
    app: App, served: Served, monkeypatch: pytest.MonkeyPatch
):
    opens, loads, comes = ScriptedLoader.open, asyncio.Event(), asyncio.Event()

    async def slowly(self: ScriptedLoader, *args: Any) -> Any:
        loads.set()
        await comes.wait()
        return await opens(self, *args)

    monkeypatch.setattr(ScriptedLoader, "open", slowly)
    await app.configure("openai_api", load_by_name=True)
    body = {"prompt": "a", "model": "second"}
    mine = asyncio.create_task(ask(served, "POST", "/v1/completions", served.key, **body))
    await loads.wait()
    await ask(served, "POST", INTERNAL + "stop-generation", served.key)
    comes.set()
    answer = await mine
    assert (answer.status_code, app.kernel.slot().state.name) == (200, "second"), answer.text


@pytest.mark.parametrize("stream", [False, True])
async def test_who_stops_several_replies_keeps_what_the_first_has_said(
    app: App, served: Served, model: Knowing, stream: bool
):
    model.gate = asyncio.Semaphore(1)
    [programs] = app.kernel.registry.values(PROGRAMS)
    body = {"prompt": "a", "n": 2, "stream": stream}
    asking = asyncio.create_task(ask(served, "POST", "/v1/completions", served.key, **body))
    await app.until(lambda: [run.state for run in programs.runs.live] == ["writing", "waiting"])
    await ask(served, "POST", INTERNAL + "stop-generation", served.key)
    answer = await asking
    assert answer.status_code == 200
    assert "One" in answer.text
    assert "error" not in answer.text
    assert answer.text.count('"stop"') == 2
