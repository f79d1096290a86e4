"""What programs tell of characters, templates and presets, and what becomes of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from kernel.api import SAMPLERS as ADDED
from kernel.api import UNSET, Phase, Request, Samplers, Struct
from kernel.testing import App, running
from tests.programs import SAMPLERS, Knowing, fault, said
from tests.sockets import Served, serving

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Is {{char}} here?"}]
CHARACTER: dict[str, Any] = {
    "mode": "chat", "bot_name": "Ada", "context": "{{char}} likes {{user}}.", "name1": "Bo",
    "user_bio": "{{user}} reads.", "greeting": "Good evening, {{user}}.",
}  # fmt: skip


class Bans(Struct, frozen=True):
    """What one loader adds."""

    banned_strings: tuple[str, ...] = ()


@pytest.fixture
def model() -> Knowing:
    return Knowing(" Ada: Yes.", samplers=(*SAMPLERS, "min_p", "typical_p"))


@pytest.fixture
async def app(model: Knowing) -> AsyncIterator[App]:
    ids = ("openai_api", "instruct", "roleplay", "chat_instruct")
    async with running(*ids, model=model) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


def texts(request: Request) -> list[str]:
    return [message.text for message in request.messages or ()]


async def test_a_character_that_only_the_program_knows(served: Served, model: Knowing):
    answer = await said(served, PATH, messages=HELLO, **CHARACTER)
    assert answer["choices"][0]["message"]["content"] == "Yes."
    [request] = model.asked
    assert [(m.role, m.name, m.text) for m in request.messages or ()] == [
        ("system", "", "Ada likes Bo.\nBo reads."),
        ("assistant", "Ada", "Good evening, Bo."),
        ("user", "Bo", "Is Ada here?"),
    ]
    assert request.template_options["name2"] == "Ada"
    assert "\nBo:" in (request.sampling.custom_stopping_strings or ())
    talk = [{"role": "assistant", "content": "Yes?"}, *HELLO]
    await said(served, PATH, messages=talk, **{**CHARACTER, "chat_template_str": "{{ name1 }}"})
    assert texts(model.asked[1])[1:] == ["Yes?", "Is Ada here?"]
    assert model.asked[1].template == "{{ name1 }}"


async def test_a_command_around_a_conversation(served: Served, model: Knowing):
    more = {"mode": "chat-instruct", "chat_instruct_command": "Be <|character|>.\n<|prompt|>"}
    await said(served, PATH, messages=HELLO, **{**CHARACTER, **more})
    told = texts(model.asked[0])[0]
    assert told.startswith("Be Ada.\n")
    assert told.endswith("Ada: Good evening, Bo.\nBo: Is Ada here?")


async def test_a_template_by_name_or_by_its_text(served: Served, model: Knowing):
    own = "{{ messages[0].content }}"
    await said(served, PATH, messages=HELLO, instruction_template="Alpaca")
    await said(served, PATH, messages=HELLO, instruction_template_str=own)
    await said(served, PATH, messages=HELLO, custom_system_message="Be brief.")
    assert "### Instruction:" in model.asked[0].template
    assert model.asked[1].template == own
    assert texts(model.asked[2])[0] == "Be brief."
    for path, body in ((PATH, {"messages": HELLO}), ("/v1/responses", {"input": "Hi"})):
        problem = await fault(served, path, **body, instruction_template="Nowhere")
        assert (problem["status"], problem["code"]) == (400, "turn_refused")
        assert problem["param"] == "instruction_template"


async def test_a_preset_stands_over_what_is_given(served: Served, model: Knowing):
    given = {"preset": "min_p", "temperature": 0.3, "top_p": 0.5, "max_tokens": 9, "seed": 4}
    await said(served, PATH, messages=HELLO, **given)
    await said(served, "/v1/completions", prompt="a", **given)
    for request in model.asked:
        sampling = request.sampling
        assert (sampling.min_p, sampling.top_p, sampling.seed) == (0.05, 1.0, 4)
        assert (sampling.temperature, sampling.max_new_tokens) == (1.0, 9)
        assert sampling.sampler_priority is UNSET
    for path, body in ((PATH, {"messages": HELLO}), ("/v1/completions", {"prompt": "a"})):
        problem = await fault(served, path, **body, preset="../../secrets/key")
        assert (problem["status"], problem["param"]) == (400, "preset")


async def test_what_has_no_place_is_refused_by_its_name(served: Served, model: Knowing):
    for name in ("character", "name2", "context", "greeting", "user_bio", "chat_template_str"):
        problem = await fault(served, PATH, messages=HELLO, **{name: "x"})
        assert (problem["status"], problem["param"]) == (400, name)
    problem = await fault(served, PATH, messages=HELLO, mode="chat", instruction_template="Alpaca")
    assert problem["param"] == "instruction_template"
    problem = await fault(served, PATH, messages=HELLO, mode="chat")
    assert (problem["status"], problem["code"]) == (400, "turn_refused")
    problem = await fault(served, PATH, messages=HELLO, mode="chat", character="Nobody")
    assert (problem["status"], problem["param"]) == (400, "character")
    body = {"messages": HELLO, "instruction_template": "Nowhere"}
    problem = await fault(served, "/v1/internal/chat-prompt", **body)
    assert (problem["status"], problem["param"]) == (400, "instruction_template")
    assert not model.asked
    assert (await said(served, PATH, messages=HELLO, context="", character=None))["choices"]


async def test_what_a_loader_adds(app: App, served: Served, model: Knowing):
    def add(loader: str) -> None:
        added = Samplers(loader, Bans)
        app.kernel.registry.add(ADDED, added, "test", phase=Phase.NORMAL, rank=0, rewrites=False)

    add("another")
    assert (await said(served, PATH, messages=HELLO, banned_strings=[]))["choices"]
    problem = await fault(served, PATH, messages=HELLO, banned_strings=["never"])
    assert (problem["status"], problem["param"]) == (400, "banned_strings")
    add("scripted")
    problem = await fault(served, PATH, messages=HELLO, banned_strings=["never"])
    assert problem["param"] == "banned_strings", "its loader adds it, but the model heeds none"
    model.info = structs.replace(model.info, samplers=(*model.info.samplers, "extra"))
    await said(served, PATH, messages=HELLO, banned_strings=["never"])
    assert model.asked[-1].sampling.extra == {"banned_strings": ("never",)}
