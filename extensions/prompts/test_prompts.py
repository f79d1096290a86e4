"""What modes share: a prompt that fits, stopping strings, instruction templates."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.engine_kit.api import ChatTemplate
from extensions.prompts.api import PROMPTS, Options, Prompts, alternating, system
from extensions.prompts.counting import Counting as Tokens
from extensions.prompts.fitting import places, room_of
from extensions.prompts.library import SHIPPED, Beside, Library
from extensions.prompts.naming import by_name
from extensions.prompts.old_forms import as_jinja
from extensions.prompts.stopping import invented, stops_in
from kernel.api import Image, Message, ModelInfo, Refused, Request, Sampling, Text, Turn
from kernel.testing import ROOT, App, Scripted, running

REAL = ROOT / "tests" / "data" / "chat-templates"


def said(role: Any, text: str, id: str = "") -> Message:
    return Message(role, (Text(text),), id=id)


TALK = [said("user", "Hello?"), said("assistant", "Hi!"), said("user", "Bye.")]


# --- fitting ----------------------------------------------------------------------------


class Counting(Scripted):
    """A model that can be asked: a token is a word of the rendered conversation."""

    def __init__(self, *scripts: str, context: int) -> None:
        super().__init__(*scripts)
        self.info = structs.replace(self.info, context_length=context)
        self.counted: list[int] = []

    async def call(self, name: str, **data: Any) -> Any:
        self.counted.append(len(str(data)))
        if name == "template":
            return " ".join(part["text"] for m in data["messages"] for part in m["parts"])
        return data["text"].split()


async def fit(
    app: App,
    messages: Sequence[Message],
    *,
    turns: bool = True,
    inserted: str = "",
    conversation: str | None = "c",
    **options: str,
) -> Request:
    async def build(kept: Sequence[Message]) -> Request:
        return Request(messages=tuple(kept))

    limit = Sampling(max_new_tokens=10)
    turn = Turn(conversation_id=conversation, sampling=limit, options=options)
    return await prompts_of(app).fitted(turn, messages, build, turns=turns, inserted=inserted)


def prompts_of(app: App) -> Prompts:
    return app.kernel.registry.values(PROMPTS)[0]


def words(many: int) -> str:
    return " ".join(["word"] * many)


LONG = [said("system", "Sys")] + [
    said(role, f"{role}{n} {words(8)}", f"{role}{n}")
    for n in range(5) for role in ("user", "assistant")
] + [said("user", "Last one")]  # fmt: skip
"""1 token, 10 times 9, and 2: 93."""


@pytest.mark.parametrize(
    ("context", "limit", "room"),
    [(8192, 512, 7680), (8192, 4096, 4096), (8192, 8000, 4096), (2048, None, 1536)],
)
def test_the_room_is_the_context_without_the_reply(context: int, limit: int | None, room: int):
    sampling = Sampling() if limit is None else Sampling(max_new_tokens=limit)
    assert room_of(ModelInfo("x", context_length=context), sampling) == room
    shorter = structs.replace(sampling, truncation_length=1024)
    assert room_of(ModelInfo("x", context_length=context), shorter) <= 1024


async def test_the_oldest_go_first_and_the_system_message_never():
    async with running("prompts", model=Counting("x", context=70)) as app:  # room for 60, then 45
        kept = (await fit(app, LONG)).messages or ()
        assert [m.text.split()[0] for m in kept] == [
            "Sys", "user3", "assistant3", "user4", "assistant4", "Last",
        ]  # fmt: skip
        left_out = prompts_of(app).left_out("c")
        assert (left_out.messages, left_out.first) == (6, "user3")
        assert prompts_of(app).left_out("c").messages == 0, "it is told once"
        single = (await fit(app, LONG, turns=False, conversation="d")).messages or ()
        assert [m.id for m in single[1:-1]] == ["user3", "assistant3", "user4", "assistant4"]
        kept = await fit(app, [*LONG[:-1], said("user", words(9))], turns=False, conversation="e")
        assert [m.id for m in (kept.messages or ())[1:-1]] == ["assistant3", "user4", "assistant4"]


async def test_what_programs_send_is_left_out_only_where_they_ask_for_it():
    async with running("prompts", model=Counting("x", context=70)) as app:
        nobodys = [structs.replace(message, id="") for message in LONG]
        assert (await fit(app, nobodys, conversation=None)).messages == tuple(nobodys)
        kept = (await fit(app, nobodys, conversation=None, truncation="auto")).messages or ()
        assert [m.text.split()[0] for m in kept[:2]] == ["Sys", "user3"]
        alone = [said("user", words(100))]
        kept = await fit(app, alone, conversation=None, truncation="auto")
        assert kept.messages == tuple(alone), "which the engine refuses, with its length"


async def test_the_next_turn_begins_with_the_same_words():
    async with running("prompts", model=Counting("x", context=70)) as app:
        first = (await fit(app, LONG)).messages or ()
        longer = [*LONG, said("assistant", words(8), "a5"), said("user", words(4), "u6")]
        second = (await fit(app, longer)).messages or ()
        assert [m.id for m in second[: len(first)]] == [m.id for m in first]
        assert prompts_of(app).left_out("c").messages == 6


async def test_a_message_that_alone_is_too_long_is_cut_and_that_is_told():
    async with running("prompts", model=Counting("x", context=70)) as app:
        page = app.page("/chat/c")
        page.client.subject = "c"
        text = " ".join(f"w{n}" for n in range(200))
        kept = (await fit(app, [*LONG[:-1], said("user", text)])).messages or ()
        assert [m.role for m in kept] == ["system", "user"]
        assert [*kept][1].text.strip() == " ".join(f"w{n}" for n in range(59)), (
            "60 with the system's"
        )
        await page.until("the last [0-9]+ characters are left out")


async def test_of_many_replies_without_the_user_between_them_the_oldest_go_too():
    """A group that goes on by itself."""
    talk = [said("system", "Sys"), said("user", "Go on", "u")]
    talk += [said("assistant", words(9), f"a{n}") for n in range(12)]
    async with running("prompts", model=Counting("x", context=70)) as app:
        kept = (await fit(app, talk, turns=False)).messages or ()
        assert [m.id for m in kept[1:]] == ["a8", "a9", "a10", "a11"]
        assert prompts_of(app).left_out("c").messages == 9


async def test_of_a_reply_that_alone_is_too_long_the_next_speaker_reads_the_end():
    text = " ".join(f"w{n}" for n in range(200))
    talk = [*LONG, said("assistant", text, "long")]
    async with running("prompts", model=Counting("x", context=70)) as app:
        page = app.page("/chat/c")
        page.client.subject = "c"
        kept = [*((await fit(app, talk, turns=False)).messages or ())]
        assert [m.role for m in kept] == ["system", "user", "assistant"]
        assert kept[1] == LONG[-1], "whole, as it is the shorter one"
        rest = 59 - len(LONG[-1].text.split())
        assert kept[2].text.split() == text.split()[-rest:], "60 with the system's"
        left_out = prompts_of(app).left_out("c")
        assert (left_out.messages, left_out.first, left_out.cut) == (10, LONG[-1].id, 0)
        await page.until("It reads the end; the first [0-9]+ characters are left out")
        question = said("user", words(61), "u")
        kept = (await fit(app, [talk[0], question, talk[-1]], turns=False)).messages or ()
        assert [m.role for m in kept] == ["system", "assistant"], "no room beside such a question"


@pytest.mark.parametrize("turns", [True, False])
async def test_a_reply_that_goes_on_gives_way_to_its_question(turns: bool):
    text = " ".join(f"w{n}" for n in range(200))
    talk = [said("system", "Sys"), said("user", words(7), "u"), said("assistant", text, "long")]
    async with running("prompts", model=Counting("x", context=70)) as app:
        page = app.page("/chat/c")
        page.client.subject = "c"
        kept = [*((await fit(app, talk, turns=turns)).messages or ())]
        assert kept[:2] == talk[:2]
        assert kept[2].text.split() == text.split()[-52:]
        assert prompts_of(app).left_out("c").messages == 0
        await page.until("The last reply is longer .+ It reads the end")


@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize(("question", "reply"), [(57, 100), (70, 71), (200, 70)])
async def test_a_question_that_leaves_a_reply_no_room_to_go_on_is_left_out(
    turns: bool, question: int, reply: int
):
    talk = [said("system", "Sys"), said("user", words(question), "u")]
    talk += [said("assistant", words(reply), "a")]
    async with running("prompts", model=Counting("x", context=70)) as app:
        kept = (await fit(app, talk, turns=turns)).messages or ()
        assert [m.id for m in kept[1:]] == ["a"]
        assert len([*kept][-1].text.split()) == 59
        assert prompts_of(app).left_out("c") == (1, "a", 0)


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
async def test_what_is_inserted_stays_and_is_no_message(role: Any):
    note = said(role, "[NOTE]", "put in")
    async with running("prompts", model=Counting("x", context=70)) as app:
        for place in range(1, len(LONG) + 1):
            talk = [*LONG[:place], note, *LONG[place:]]
            kept = [*((await fit(app, talk, turns=False, inserted="put in")).messages or ())]
            assert kept.count(note) == 1
            others = [m for m in kept if m is not note]
            assert others == [LONG[0], *LONG[-len(others) + 1 :]], "the last ones, whole"
            left_out = prompts_of(app).left_out("c")
            assert left_out == (len(LONG) - len(others), others[1].id, 0)
            assert kept.index(note) == max(1, len(kept) - 1 - (len(LONG) - place))
        alone = [LONG[0], note, said("user", words(100), "u"), note]
        kept = (await fit(app, alone, turns=False, inserted="put in")).messages or ()
        assert [m.id for m in kept[1:]] == ["put in", "u", "put in"]
        alone = [LONG[0], alone[2], note, said("assistant", words(100), "long")]
        kept = (await fit(app, alone, turns=False, inserted="put in")).messages or ()
        assert [m.id for m in kept[1:]] == ["put in", "long"], "the question finds no room"


async def test_what_never_fits_is_refused_with_what_to_do():
    async with running("prompts", model=Counting("x", context=70)) as app:
        with pytest.raises(Refused, match=r"does not fit .+ Shorten the system message"):
            await fit(app, [said("system", words(100)), said("user", "Hello")])


async def test_where_the_templates_own_words_take_the_room_a_short_reply_is_more_than_none():
    head = said("system", words(9))
    async with running("prompts", model=Counting("x", context=16)) as app:  # room for 8, then 12
        page = app.page("/chat/c")
        page.client.subject = "c"
        kept = (await fit(app, [head, said("user", "Go on")])).messages or ()
        assert [m.text for m in kept] == [head.text, "Go on"]
        assert "left out" not in page.html
        kept = (await fit(app, [head, said("user", words(9))])).messages or ()
        assert [*kept][1].text.split() == ["word"] * 3
        await page.until("the last [0-9]+ characters are left out")


class Seeing(Counting):
    """A picture takes as many tokens as it is wide; which sizes were asked for is known."""

    def __init__(self, context: int, *, sees: bool = True, says: bool = True) -> None:
        super().__init__("x", context=context)
        self.info = structs.replace(self.info, capabilities=("text", "images")[: 1 + sees])
        self.says, self.sizes = says, list[Any]()

    async def call(self, name: str, **data: Any) -> Any:
        if name != "pictures":
            return await super().call(name, **data)
        if not self.says:
            raise LookupError
        self.sizes += data["sizes"]
        return [width for width, _ in data["sizes"]]


def looks(text: str, *sizes: tuple[int, int]) -> Message:
    pictures = (Image(b"", "image/png", size) for size in sizes)
    return Message("user", (*pictures, Text(text)), id=text)


async def test_pictures_have_tokens_and_go_with_their_messages():
    """Room for 60, then 45: the words alone would fit."""
    talk = [
        looks("one", (18, 5)), said("assistant", "A"),
        looks("two", (18, 5)), said("assistant", "B"), looks("three", (8, 5), (8, 6)),
    ]  # fmt: skip
    model = Seeing(70)
    async with running("prompts", model=model) as app:
        kept = (await fit(app, talk)).messages or ()
        assert [m.text for m in kept] == ["two", "B", "three"]
        assert len([p for m in kept for p in m.parts if isinstance(p, Image)]) == 3
        left_out = prompts_of(app).left_out("c")
        assert (left_out.messages, left_out.first) == (2, "two")
        assert sorted(model.sizes) == [(8, 5), (8, 6), (18, 5)], "each size once"
    for context, kept in ((79, 5), (78, 3)):  # 69 with 16 for the words in the place of each
        async with running("prompts", model=Seeing(context, sees=False)) as app:
            assert len((await fit(app, talk)).messages or ()) == kept


async def test_pictures_that_never_fit_are_refused_and_long_words_with_one_are_cut():
    async with running("prompts", model=Seeing(70)) as app:
        with pytest.raises(Refused, match=r"take 63 tokens, .+ has room for 60\. Send fewer"):
            await fit(app, [looks("", (61, 5))])
        page = app.page("/chat/c")
        page.client.subject = "c"
        [kept] = [*((await fit(app, [looks(words(99), (25, 5))])).messages or ())]
        assert len(kept.text.split()) == 33
        assert kept.parts[0] == Image(b"", "image/png", (25, 5))


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((28, 28), 256),
        ((560, 560), 400),
        ((561, 560), 420),
        ((9_000, 9_000), 4_096),
        ((0, 0), 4_096),
    ],
)
async def test_where_the_model_does_not_say_it_is_guessed(size: tuple[int, int], tokens: int):
    asked = Request(messages=(looks("a b c", size),))
    assert await Tokens(Seeing(70, says=False)).tokens(asked) == 3 + tokens
    assert await Tokens(Seeing(70, says=False)).at_most(asked) == 5 + 16 + tokens


def test_tools_answers_do_not_come_first():
    asked = [said("user", "A"), said("assistant", "B"), said("tool", "C"), said("assistant", "D"),
             said("user", "E")]  # fmt: skip
    assert places([m.role for m in asked], turns=True) == [0, 4]
    assert places([m.role for m in asked], turns=False) == [0, 1, 3, 4]


async def test_a_program_is_not_told_what_to_leave_out():
    words = " ".join(["word"] * 200)
    model = Counting("Yes.", context=120)
    async with running("instruct", model=model) as app:
        history = [Message("user", (Text(words),)), Message("assistant", (Text(words),))]
        async for _ in app.run(Turn((Message("user", (Text("Hello"),)),)), history):
            pass
        assert len(model.asked[0].messages or ()) == 3


async def test_a_very_long_past_is_not_counted_whole():
    model = Counting("Yes.", context=200)
    history = [
        Message(role, (Text(f"{n} " + "word " * 20),), id=f"{n}{role}")
        for n in range(500)
        for role in ("user", "assistant")
    ]
    async with running("instruct", model=model) as app:
        turn = Turn((Message("user", (Text("Hello"),)),), conversation_id="long")
        async for _ in app.run(turn, history):
            pass
    asked = model.asked[0].messages or ()
    assert [m.text.split()[0] for m in asked[-3:]] == ["499", "499", "Hello"]
    assert 4 < len(asked) < 12
    assert 0 < max(model.counted) < 200 * 16 * 4


# --- stopping strings -------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ChatTemplate]:
    sandbox = ChatTemplate("", {"bos_token": "<s>", "eos_token": "</s>"})
    yield sandbox
    sandbox.close()


def rendered(sandbox: ChatTemplate, source: str, **options: Any) -> str:
    return sandbox.render(
        invented(), template=source, template_options=options, add_generation_prompt=False
    )


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("Alpaca", ("\n\n### Response:", "\n\n### Instruction:")),
        ("ChatML", ("<|im_end|>",)),
        ("Llama-v3", ("<|eot_id|>",)),
        ("Llama-v2", ("[/INST]", "</s>")),
        ("Mistral", ("[/INST]", "</s>")),
        ("Vicuna-v1.1", ("\nASSISTANT:", "</s>")),
        ("Gemma", ("<end_of_turn>",)),
        ("Phi-3", ("<|end|>",)),
        ("Zephyr", ("</s>",)),
        ("Command-R", ("<|END_OF_TURN_TOKEN|>",)),
        ("OpenChat", ("<|end_of_turn|>",)),
        ("Metharme", ("<|model|>", "<|user|>")),
        ("Open Assistant", ("<|endoftext|>",)),
    ],
)
def test_the_stopping_strings_of_what_is_shipped(
    sandbox: ChatTemplate, name: str, stops: tuple[str, ...]
):
    source = (SHIPPED / f"{name}.jinja").read_text("utf-8")
    assert stops_in(rendered(sandbox, source), source) == stops
    told = sandbox.render([said("system", "Be brief."), *TALK], template=source)
    places = [told.index(words) for words in ("Be brief.", "Hello?", "Hi!", "Bye.")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("file", "stops"),
    [
        ("Qwen-Qwen3-Coder-30B-A3B-Instruct", ("<|im_end|>",)),
        ("llama-3-instruct", ("<|eot_id|>",)),
        ("gemma-it", ("<end_of_turn>",)),
        ("mistral-instruct", ("[/INST]", "</s>")),
    ],
)
def test_the_stopping_strings_of_real_templates(
    sandbox: ChatTemplate, file: str, stops: tuple[str, ...]
):
    source = (REAL / f"{file}.jinja").read_text("utf-8")
    assert stops_in(rendered(sandbox, source), source) == stops


@pytest.mark.parametrize(
    ("between", "stops"),
    [
        ("\nBot: {}\nYou: {}\nBot: {}\n", ("\nBot:", "\nYou:")),
        ("(end){}[next]{}{{x}}{}", ("(end)", "[next]", "{x}")),
        ("<|end|>more{}<|end|>other{}<|end|>{}", ("<|end|>",)),
        ("A: {}A: B: {}A: {}", ("A:",)),
        (" {} {} {}", ()),
    ],
)
def test_what_counts_as_a_stopping_string(between: str, stops: tuple[str, ...]):
    first, *others = [message.text for message in invented()]
    assert stops_in(first + between.format(*others)) == stops


def test_a_template_with_channels_ends_a_reply_by_another_token():
    source = "<|start|>assistant<|channel|>final<|message|>"
    first, *others = [message.text for message in invented()]
    text = first + "<|end|>{}<|end|>{}<|end|>{}".format(*others)
    assert stops_in(text, source) == ("<|return|>",)
    assert stops_in("nothing of it", source) == ()
    assert stops_in(first) == ()


def test_of_two_that_begin_alike_the_shorter_is_enough():
    """An opening bracket without its end is read up to the colon, another one up to its end."""
    one, two, three, four = (message.text for message in invented())
    rendered = f"{one}<user:{two}<user:x>{three}<user:{four}"
    assert stops_in(rendered) == ("<user:",)


# --- instruction templates --------------------------------------------------------------

OLD = """\
user: "USER:"
bot: "ASSISTANT:"
turn_template: "<|user|> <|user-message|>\\n<|bot|> <|bot-message|></s>\\n"
context: "A chat.\\n<|system-message|>\\n\\n"
system_message: "Be kind."
"""


def test_the_older_yaml_form_is_read(sandbox: ChatTemplate):
    source = as_jinja(OLD, "Vicuna.yaml")
    assert sandbox.render(TALK, template=source) == (
        "A chat.\nBe kind.\n\nUSER: Hello?\nASSISTANT: Hi!</s>\nUSER: Bye.\nASSISTANT:"
    )
    told = sandbox.render([said("system", "Be brief."), *TALK[:1]], template=source)
    assert told == "A chat.\nBe brief.\n\nUSER: Hello?\nASSISTANT:"
    assert stops_in(rendered(sandbox, source), source) == ("\nASSISTANT:", "</s>")


def test_an_older_form_with_strange_words(sandbox: ChatTemplate):
    """Quotes, braces, emoji and what Jinja would run stay the words that they are."""
    old = {
        "user": "\"'{{ 1 + 1 }}🙂", "bot": "{% raw %}\\", "context": "",
        "turn_template": "<|user|><|user-message|>|<|bot|><|bot-message|>",
    }  # fmt: skip
    source = as_jinja(json.dumps(old), "x.yaml")
    assert sandbox.render(TALK[:1], template=source) == "\"'{{ 1 + 1 }}🙂Hello?|{% raw %}\\"
    nameless = as_jinja('turn_template: "Q <|user-message|> A <|bot-message|>."', "x.yaml")
    assert sandbox.render(TALK, template=nameless) == "Q Hello? A Hi!.Q Bye. A"


def test_the_newer_yaml_form_is_read():
    assert as_jinja('instruction_template: "{{ messages }}"', "x.yaml") == "{{ messages }}"
    for text, why in (("[1]", "holds no"), ("a: b", "neither"), ("{", "is no YAML"), ("", "holds")):
        with pytest.raises(Refused, match=why):
            as_jinja(text, "x.yaml")


def test_a_file_of_the_users_stands_over_a_shipped_one(tmp_path: Path):
    library = Library(tmp_path / "instruction-templates", dict)
    assert {each.name for each in library.listed()} >= {"Alpaca", "ChatML", "Mistral"}
    assert not any(each.yours for each in library.listed())
    library.save("Alpaca", "mine")
    library.save("New one", "new")
    (library.folder / "Old.yml").write_text(OLD)
    (library.folder / "Other.jinja2").write_text("other")
    assert library.read("Alpaca") == "mine"
    assert library.read("Other") == "other"
    assert "ns.system" in library.read("Old")
    yours = {each.name for each in library.listed() if each.yours}
    assert yours == {"Alpaca", "New one", "Old", "Other"}
    kept = library.delete("Alpaca")
    assert library.read("Alpaca") != "mine"
    assert library.restore(kept) == "Alpaca"
    assert library.read("Alpaca") == "mine"
    with pytest.raises(Refused, match="came with Spindle"):
        library.delete("ChatML")
    with pytest.raises(Refused, match="not in the trash"):
        library.restore(kept)
    with pytest.raises(Refused, match="no instruction template"):
        library.read("Nothing")
    for name in ("../x", "a/b", ".hidden", "con"):
        with pytest.raises(Refused, match="cannot be the name"):
            library.save(name, "x")
        with pytest.raises(Refused, match="cannot be the name"):
            library.read(name)
    (library.folder / "Large.jinja").write_text("x" * 2_000_000)
    with pytest.raises(Refused, match="larger than"):
        library.read("Large")
    (library.folder / "Bytes.jinja").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(Refused, match="cannot be read"):
        library.read("Bytes")


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("Meta-Llama-3.1-8B-Q4_K_M.gguf", "Llama-v3"), ("Mixtral-8x7B-Instruct", "Mistral"),
        ("vicuna-13b-v1.5", "Vicuna-v1.1"), ("OpenHermes-2.5-Mistral-7B", "ChatML"),
        ("gemma-2b", "Gemma"), ("zephyr-7b-beta", "Zephyr"), ("llama-2-7b-chat", "Llama-v2"),
        ("stories260K", ""), ("phi-3-mini", "Phi-3"), ("MythoMax-L2-13b", "Alpaca"),
    ],
)  # fmt: skip
def test_a_models_name_may_say_its_template(name: str, template: str):
    assert by_name(name) == template


@pytest.mark.parametrize("names", [["Mine.yaml"], ["Mine.jinja2"], ["Mine.jinja", "Mine.yaml"]])
def test_what_was_saved_over_comes_back_whatever_its_ending(tmp_path: Path, names: list[str]):
    library = Library(tmp_path, dict)
    for name in names:
        (tmp_path / name).write_text(OLD)
    before = library.read("Mine")
    kept = library.save("Mine", "new")
    assert library.read("Mine") == "new"
    library.restore(kept, instead=True)
    assert library.read("Mine") == before
    assert sorted(path.name for path in tmp_path.glob("Mine.*")) == names


def test_how_the_template_of_a_turn_is_chosen(tmp_path: Path):
    chosen_for: dict[str, str] = {}
    beside: list[Beside | None] = [None]
    library = Library(tmp_path, lambda: chosen_for, lambda: [lambda model: beside[0]])

    def how(name: str, model: ModelInfo | None) -> tuple[str, str]:
        chosen = library.chosen(name, model)
        return chosen.name, chosen.how

    own = ModelInfo("llama-3", chat_template="{{ messages }}")
    named, bare = ModelInfo("llama-3"), ModelInfo("x", path="/models/stories.gguf")
    assert how("", own) == ("", "own")
    assert how("", None) == ("", "own")
    assert how("", named) == ("Llama-v3", "name")
    assert how("", bare) == ("Alpaca", "guess")
    assert how("ChatML", own) == ("ChatML", "asked")
    beside[0] = Beside("Gemma", mild=True)
    assert how("", own) == ("", "own")
    assert how("", bare) == ("Gemma", "saved")
    beside[0] = Beside("Gemma")
    assert how("", own) == ("Gemma", "saved")
    beside[0] = Beside("../none")
    assert how("", own) == ("", "own")
    assert library.missing(own) == "../none"
    beside[0] = Beside("Mine", mild=True)
    assert (library.missing(own), library.missing(bare)) == ("", "Mine")
    for there in (None, Beside("None"), Beside("Gemma")):
        beside[0] = there
        assert library.missing(bare) == ""
    beside[0] = Beside("Gemma")
    chosen_for["llama-3"] = "Vicuna-v1.1"
    assert how("", own) == ("Vicuna-v1.1", "set")
    beside[0] = Beside("Mine")
    assert library.missing(own) == "", "it would not count"


# --- options ----------------------------------------------------------------------------


def test_the_options_of_a_turn():
    options = Options.of(Turn(options={"character": "Ada", "else": 1, "enable_thinking": True}))
    assert options.character == "Ada"
    assert options.for_template() == {
        "enable_thinking": True, "thinking": True, "thinking_budget": -1,
    }  # fmt: skip
    assert Options().for_template() == {}
    more = Options(reasoning_effort="low", preserve_thinking=False)
    assert more.for_template() == {"reasoning_effort": "low", "preserve_thinking": False}
    with pytest.raises(Refused, match=r"no good: .*reasoning_effort"):
        Options.of(Turn(options={"reasoning_effort": "endless"}))
    assert system(" \n") == []
    assert alternating([said("system", "A"), said("system", "B")]) == (
        said("system", "A"), said("system", "B"),
    )  # fmt: skip


async def test_templates_chosen_at_once_are_both_kept(tmp_path: Path):
    async with running("prompts", data=tmp_path) as app:
        [prompts] = app.kernel.registry.values(PROMPTS)
        models = [f"model {n}" for n in range(8)]
        await asyncio.gather(
            *(asyncio.to_thread(prompts.choose_for, each, "Alpaca") for each in models)
        )
        assert [prompts.set_for(each) for each in models] == ["Alpaca"] * 8
