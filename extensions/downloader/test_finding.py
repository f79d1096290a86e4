"""What people paste, which files belong together, what their names tell, and where they may lie."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from msgspec import structs

from kernel.api import Refused

from . import views
from .addresses import Address, address_of, looks_like_one
from .cards import card_of
from .choosing import choices, selected
from .desk import Desk
from .fitting import Room, advised, fits, largest, need, room_of
from .listing import model_of
from .looks import Look, Looks
from .plan import Found, Item, Plan, Repository
from .planning import Places, check_names, folder_name, found_here, is_here, plan_of, plan_of_files
from .quantizations import ALL, packing_of, quantization_of
from .records import Entry, Kept

GB = 10**9
MIRROR = "https://hf-mirror.com"


def holds(*paths: str, repo: str = "me/mine", size: int = 1000, **more: object) -> Repository:
    items = tuple(Item(path, f"https://hub/{path}", size) for path in paths)
    return Repository(repo, "main", "0" * 40, items, **more)  # type: ignore[arg-type]


# --- addresses --------------------------------------------------------------------------

PASTED = {
    "user/model": Address("user/model"),
    "  user/model/ ": Address("user/model"),
    "user/model:dev": Address("user/model", "dev"),
    "user/model@refs/pr/1": Address("user/model", "refs/pr/1"),
    "user/model:Q8_0": Address("user/model", quantization="Q8_0"),
    "user/model/sub/x.gguf": Address("user/model", path="sub/x.gguf"),
    "https://huggingface.co/user/model": Address("user/model"),
    "https://huggingface.co/user/model/": Address("user/model"),
    "http://www.huggingface.co/user/model?library=x#readme": Address("user/model"),
    "huggingface.co/user/model": Address("user/model"),
    "https://huggingface.co/user/model/tree/dev": Address("user/model", "dev"),
    "https://huggingface.co/user/model/tree/main/sub": Address("user/model", path="sub"),
    "https://huggingface.co/a/b/tree/refs%2Fpr%2F1": Address("a/b", "refs/pr/1"),
    "https://huggingface.co/a/b/tree/refs/pr/1/sub": Address("a/b", "refs/pr/1", "sub"),
    "https://huggingface.co/a/b/blob/main/sub/x.gguf": Address("a/b", path="sub/x.gguf"),
    "https://huggingface.co/a/b/resolve/v1/x%20y.gguf?download=true": Address(
        "a/b", "v1", "x y.gguf"
    ),
    "https://huggingface.co/a/b/discussions/3": Address("a/b"),
    "https://huggingface.co/api/models/a/b": Address("a/b"),
    "https://huggingface.co/gpt2": Address("gpt2"),
    "https://huggingface.co/gpt2/tree/main": Address("gpt2"),
    "hf-mirror.com/a/b": Address("a/b", endpoint=MIRROR),
    "https://hf-mirror.com/a/b/resolve/main/x.gguf": Address("a/b", path="x.gguf", endpoint=MIRROR),
    "hf.co/a/b:Q4_K_M": Address("a/b", quantization="Q4_K_M"),
    "hf://a/b/c.gguf": Address("a/b", path="c.gguf"),
    "git clone https://huggingface.co/a/b.git": Address("a/b"),
    "ollama run hf.co/a/b:q4_k_m": Address("a/b", quantization="Q4_K_M"),
    "hf download a/b x.gguf --local-dir y": Address("a/b"),
    "huggingface-cli download --token x a/b": Address("a/b"),
    "llama-server -hf a/b": Address("a/b"),
    "python download-model.py a/b --threads 4": Address("a/b"),
    "model = AutoModel.from_pretrained('a/b')": Address("a/b"),
}

REFUSED = {
    "": "There is no model in this",
    "gpt2": "no name of a model",
    "../x/y": "no name of a model",
    "a/..": "no name of a model",
    "a/b:../c": "no name of a branch",
    "a/b\x00c": "no name of a model",
    "https://evil.test/a/b": "not from evil.test",
    "https://huggingface.co@evil.test/a/b": "not from evil.test",
    "https://huggingface.co.evil.test/a/b": "not from huggingface.co.evil.test",
    "ftp://huggingface.co/a/b": "not from huggingface.co",
    "file:///etc/passwd": "not from there",
    "http://[::1/a/b": "no address",
    "https://huggingface.co/datasets/a/b": "a data set, not a model",
    "https://huggingface.co/spaces/a/b": "a space, not a model",
    "https://huggingface.co/": "names no model",
    "https://huggingface.co/a/b/tree/..%2Fc": "no name of a branch",
    "x" * 3000: "There is no model in this",
}


@pytest.mark.parametrize("text", PASTED)
def test_what_people_paste(text: str):
    assert address_of(text) == PASTED[text]


@pytest.mark.parametrize("text", PASTED)
def test_a_page_keeps_what_was_pasted(text: str):
    assert address_of(unquote(views.at(PASTED[text]))) == PASTED[text]


def test_a_page_of_a_file_with_an_odd_name_is_that_of_its_repository():
    for path in ("x:y.gguf", "x?.gguf", "a#b", "x.gguf,", "..", "a/../b", "\u202ex"):
        assert views.at(Address("a/b", path=path)) == "a/b"


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_model_is_refused_with_what_to_write(text: str):
    with pytest.raises(Refused, match=REFUSED[text]):
        address_of(text)


def test_the_mirror_of_the_settings_is_at_home():
    own = "http://127.0.0.1:8000/hub"
    assert address_of("http://127.0.0.1:8000/hub/a/b/tree/x", own) == Address("a/b", "x")
    assert address_of("https://huggingface.co/a/b", own) == Address("a/b")
    assert address_of(f"{MIRROR}/a/b", MIRROR) == Address("a/b")
    with pytest.raises(Refused, match="not from"):
        address_of("http://127.0.0.1:8001/a/b", own)


def test_words_are_searched_for_and_names_are_gone_to():
    assert [t for t in ("llama 3 8b", "qwen", "a/b", "https://x", "hf.co/a/b") if looks_like_one(t)]
    assert not looks_like_one("llama 3 8b")
    assert not looks_like_one("qwen")
    assert looks_like_one("a/b:c")
    assert looks_like_one("huggingface.co/a/b")
    assert looks_like_one("ollama run hf.co/a/b:Q4_0")


# --- quantizations ----------------------------------------------------------------------

NAMES = {
    "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf": ("Q4_K_M", 4.8),
    "qwen2.5-0.5b-instruct-q4_k_m.gguf": ("Q4_K_M", 4.8),
    "llama-2-7b.Q5_0.gguf": ("Q5_0", 5.5),
    "q2-model-q8_0.gguf": ("Q8_0", 8.5),
    "model-f16.gguf": ("F16", 16.0),
    "x-Q4_K_L.gguf": ("Q4_K_L", 4.8),
    "UD-Q4_K_XL/x-UD-Q4_K_XL-00001-of-00002.gguf": ("UD-Q4_K_XL", 4.8),
    "gpt-oss-20b-mxfp4.gguf": ("MXFP4", 4.3),
    "x-IQ2_XXS.gguf": ("IQ2_XXS", 2.1),
    "x-UD-Q8_K_XL.gguf": ("UD-Q8_K_XL", 8.5),
    "tinyllama.gguf": ("", 0.0),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_how_exactly_it_keeps_numbers(name: str):
    found = quantization_of(name)
    assert (found.name, found.bits) == NAMES[name]
    assert found.says.endswith(".")


def test_each_quantization_is_explained_in_a_short_sentence():
    for name, bits, says in ALL:
        found = quantization_of(f"x-{name}.gguf")
        assert (found.name, found.bits, found.says) == (name, bits, says)
        assert says.endswith(".")
        assert len(says) <= 90, name


def test_packed_safetensors_say_so():
    assert packing_of("TheBloke/Llama-2-7B-GPTQ/main").name == "GPTQ"
    assert packing_of("a/b-AWQ/main").name == "AWQ"
    assert packing_of("a/b-4bit/main").name == ""


# --- which files ------------------------------------------------------------------------


def test_safetensors_come_with_what_belongs_to_them_and_without_second_copies():
    found = choices(
        holds(
            "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
            "model.safetensors.index.json", "model.fp16.safetensors", "consolidated.safetensors",
            "pytorch_model.bin", "original/consolidated.00.pth", "original/model.safetensors",
            "metal/model.bin", "onnx/model.onnx", "onnx/config.json", "config.json",
            "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "LICENSE",
            "additional_chat_templates/tool_use.jinja", "1_Pooling/config.json", "README.md",
            "2_Dense/model.safetensors", ".gitattributes", "optimizer.pt", "training_args.bin",
            "modeling_x.py", "checkpoint-5/model.safetensors", "assets/a.json", "photo.png",
        )
    )  # fmt: skip
    assert [choice.form for choice in found] == ["safetensors"]
    assert {item.path for item in found[0].items} == {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "2_Dense/model.safetensors", "model.safetensors.index.json", "config.json",
        "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "LICENSE",
        "additional_chat_templates/tool_use.jinja", "1_Pooling/config.json", "README.md",
        "modeling_x.py",
    }  # fmt: skip


def test_pickled_files_are_offered_only_where_there_is_nothing_else():
    files = ("pytorch_model-00001-of-00001.bin", "config.json", "training_args.bin")
    (found,) = choices(holds(*files))
    assert (found.form, [item.path for item in found.items]) == ("pickle", list(files[:2]))
    assert [c.form for c in choices(holds(*files, "model.safetensors"))] == ["safetensors"]
    assert [c.form for c in choices(holds(*files, "m-Q4_0.gguf"))] == ["gguf"]


def test_split_ggufs_are_one_and_eyes_are_beside():
    found = choices(
        holds(
            "Q8_0/m-Q8_0-00002-of-00002.gguf", "Q8_0/m-Q8_0-00001-of-00002.gguf", "m-Q4_K_M.gguf",
            "mmproj-BF16.gguf", "mmproj-F16.gguf", "imatrix.gguf", "README.md",
        )
    )  # fmt: skip
    assert [(c.id, len(c.items), c.quantization.name) for c in found] == [
        ("Q8_0/m-Q8_0.gguf", 2, "Q8_0"),
        ("m-Q4_K_M.gguf", 1, "Q4_K_M"),
    ]
    assert found[0].items[0].path.endswith("00001-of-00002.gguf")
    assert [item.path for item in found[1].eyes] == ["mmproj-F16.gguf", "mmproj-BF16.gguf"]


def test_loras_are_recognised():
    (peft,) = choices(holds("adapter_config.json", "adapter_model.safetensors"))
    (old,) = choices(holds("adapter_config.json", "adapter_model.bin"))
    (gguf,) = choices(holds("shakespeare-lora-f16.gguf"))
    (tagged,) = choices(holds("x-f16.gguf", tags=("base_model:adapter:a/b",)))
    assert all(choice.lora for choice in (peft, old, gguf, tagged))
    assert old.form == "pickle"
    (model,) = choices(holds("model.safetensors", "adapter_config.json"))
    assert not model.lora


def test_patterns_choose_among_what_belongs_to_models():
    repository = holds("a.gguf", "b.safetensors", "c.json", "sub/d.json", "e.png", ".hidden.json")
    paths = [item.path for item in selected(repository)]
    assert paths == ["a.gguf", "b.safetensors", "c.json", "sub/d.json"]
    assert [i.path for i in selected(repository, text_only=True)] == ["c.json", "sub/d.json"]
    assert [i.path for i in selected(repository, include=r"\.json$", exclude="^sub/")] == ["c.json"]


# --- what fits --------------------------------------------------------------------------


def many(*sizes: tuple[str, float]) -> Repository:
    items = tuple(Item(f"m-{name}.gguf", "", int(gb * GB)) for name, gb in sizes)
    return Repository("me/mine", "main", "0" * 40, items)


EIGHT = many(("Q2_K", 3.2), ("Q4_0", 4.7), ("Q4_K_M", 4.9), ("Q6_K", 6.6), ("Q8_0", 8.5),
             ("F16", 16.1))  # fmt: skip


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (Room(4 * GB), None),
        (Room(5 * GB), "Q2_K"),
        (Room(8 * GB), "Q4_K_M"),
        (Room(16 * GB), "Q4_K_M"),
        (Room(32 * GB), "Q6_K"),
        (Room(64 * GB), "Q8_0"),
        (Room(4 * GB, 8 * GB), "Q6_K"),
        (Room(4 * GB, 24 * GB), "Q8_0"),
        (Room(0), "Q4_K_M"),
    ],
)
def test_the_one_to_take_is_what_fits_and_loses_little(room: Room, name: str | None):
    best = advised(choices(EIGHT), room)
    assert (best.quantization.name if best else None) == name


def test_a_split_file_with_a_part_missing_is_not_advised():
    parts = many(("Q4_K_M-00001-of-00002", 1), ("Q8_0", 2))
    best = advised(choices(parts), Room(64 * GB))
    assert best
    assert best.quantization.name == "Q8_0"


def test_what_fits_is_told_from_the_size():
    assert fits(0, Room(GB)) == ""
    assert fits(4 * GB, Room(8 * GB)) == "memory"
    assert fits(4 * GB, Room(2 * GB, 8 * GB)) == "card"
    assert fits(8 * GB, Room(8 * GB)) == "not"
    assert need(10 * GB) > 11 * GB
    assert room_of((1, 10), [(8, 10)]) == Room(5, 8)
    assert largest(10 * GB, Room(8 * GB)) == 4.8
    assert largest(100 * GB, Room(8 * GB)) == 0


# --- where ------------------------------------------------------------------------------

HOSTILE = [
    "../x.gguf", "..\\x.gguf", "/etc/passwd.gguf", "C:\\x.gguf", "D:x.gguf", "\\x.gguf",
    "\\\\host\\share.gguf", "a/../../x.gguf", "a/./x.gguf", "a//x.gguf", "x" * 300 + ".gguf",
    "nul\0l.gguf", "new\nline.gguf", "%2e%2e%2fx.gguf", "%252e%252e%252fx.gguf", "CON.gguf",
    "a/CON/x.gguf", "x.gguf::$DATA.gguf", "a\u2215b.gguf", "-x.gguf", ".x.gguf", "x\u202efdp.gguf",
    "a/b/c/d/e/f/g/h/i/x.gguf", "~x.gguf", "a /x.gguf",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_b21_hostile_names_are_refused_before_a_byte_is_fetched(name: str, tmp_path):
    places = Places(tmp_path / "models", tmp_path / "loras")
    repository = holds(f"{name}", "config.json")
    with pytest.raises(Refused):
        plan_of_files(repository, repository.items, places)
    for choice in choices(holds(name)):
        try:
            plan = plan_of(repository, choice, places)
        except Refused:
            continue
        for item in plan.items:  # A GGUF in a folder is written under its own name, which is good.
            assert "/" not in item.path
            check_names([item])


def test_b21_two_files_of_one_name_and_a_file_that_is_a_folder_are_refused():
    with pytest.raises(Refused, match="would be one file"):
        check_names([Item("A.json", "", 1), Item("a.json", "", 1)])
    with pytest.raises(Refused, match="a file and a folder"):
        check_names([Item("a", "", 1), Item("a/b", "", 1)])
    with pytest.raises(Refused, match="more than a model has"):
        check_names([Item(f"{n}.json", "", 1) for n in range(10_000)])
    with pytest.raises(Refused, match="belongs to a model"):
        check_names([])


def test_folders_say_whose_model_it_is(tmp_path):
    places = Places(tmp_path / "models", tmp_path / "loras")
    assert folder_name("me/mine") == "me_mine"
    assert folder_name("me/mine", "refs/pr/1") == "me_mine_refs_pr_1"
    one = holds("sub/m-Q4_0.gguf", "mmproj-F16.gguf")
    (choice,) = choices(one)
    plan = plan_of(one, choice, places)
    assert (plan.root, plan.folder, [i.path for i in plan.items]) == ("models", "", ["m-Q4_0.gguf"])
    plan = plan_of(one, choice, places, eyes=True, endpoint="https://hub")
    assert (plan.folder, len(plan.items), plan.source) == ("me_mine", 2, "https://hub/me/mine")
    adapter = holds("adapter_config.json", "adapter_model.safetensors")
    assert plan_of(adapter, choices(adapter)[0], places).root == "loras"


def test_what_is_here_is_seen_and_another_models_file_is_not_written_over(tmp_path):
    places = Places(tmp_path / "models", tmp_path / "loras")
    places.models.mkdir()
    repository = holds("m-Q4_0.gguf", size=3)
    (choice,) = choices(repository)
    plan = plan_of(repository, choice, places)
    assert found_here(plan, places) == {"m-Q4_0.gguf": False}
    (places.models / "m-Q4_0.gguf").write_bytes(b"abc")
    assert found_here(plan_of(repository, choice, places), places) == {"m-Q4_0.gguf": True}
    (places.models / "m-Q4_0.gguf").write_bytes(b"another")
    assert plan_of(repository, choice, places).folder == "me_mine"


@pytest.mark.parametrize(
    "names", [["model.gguf"], ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]]
)
def test_quantizations_whose_files_have_the_same_names_do_not_take_each_others_place(
    tmp_path: Path, names: list[str]
):
    places = Places(tmp_path / "models", tmp_path / "loras")
    sizes = {"Q4_K_M": 400, "Q8_0": 800, "F16": 1600}
    items = [Item(f"{q}/{name}", "", size) for q, size in sizes.items() for name in names]
    repository = Repository("me/mine", "main", "0" * 40, (*items, Item("mmproj.gguf", "", 9)))
    for choice in choices(repository):
        plan = plan_of(repository, choice, places)
        written = [(places.models / plan.folder / item.path, item) for item in plan.items]
        assert not any(file.exists() for file, _ in written)
        for file, item in written:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(item.size))
        assert all(found_here(plan_of(repository, choice, places), places).values())


def test_what_sees_images_lies_beside_its_model(tmp_path: Path):
    places = Places(tmp_path / "models", tmp_path / "loras")
    eyes = Item("mmproj.gguf", "", 9)
    items = (Item("Q4_K_M/model.gguf", "", 400), Item("Q8_0/model.gguf", "", 800), eyes)
    repository = Repository("me/mine", "main", "0" * 40, items)
    plan = plan_of(repository, choices(repository)[0], places, eyes=True)
    assert plan.paths == {"Q8_0/model.gguf", "Q8_0/mmproj.gguf"}
    assert not is_here(repository, eyes, places)
    file = places.models / plan.folder / "Q8_0" / "mmproj.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(9))
    assert is_here(repository, eyes, places)
    one = holds("m-Q4_0.gguf", "vision/a/mmproj.gguf", "vision/b/mmproj.gguf")
    assert plan_of(one, choices(one)[0], places, eyes=True).paths == {"m-Q4_0.gguf", "mmproj.gguf"}


def test_a_split_gguf_that_an_earlier_version_fetched_is_here(tmp_path: Path):
    places = Places(tmp_path / "models", tmp_path / "loras")
    parts = ("model-00001-of-00002.gguf", "model-00002-of-00002.gguf")
    sizes = {"Q4_K_M": 400, "Q8_0": 800, "old/Q2_K": 200, "new/Q2_K": 200}
    items = [Item(f"{q}/{part}", "", size) for q, size in sizes.items() for part in parts]
    repository = Repository("me/mine", "main", "0" * 40, (*items, Item("mmproj.gguf", "", 9)))
    eight, four, *_ = choices(repository)
    folder = places.models / "me_mine"
    folder.mkdir(parents=True)
    (folder / parts[0]).write_bytes(bytes(800))
    assert not any(found_here(plan_of(repository, eight, places), places).values()), "a part only"
    (folder / parts[1]).write_bytes(bytes(800))
    assert all(found_here(plan_of(repository, eight, places), places).values())
    assert not any(found_here(plan_of(repository, four, places), places).values())
    assert plan_of(repository, eight, places, eyes=True).paths == {*parts, "mmproj.gguf"}
    for part in parts:
        (folder / part).write_bytes(bytes(200))
    for choice in choices(repository)[2:]:
        here = found_here(plan_of(repository, choice, places), places)
        assert not any(here.values()), "nobody knows which of the two it is"


# --- cards ------------------------------------------------------------------------------


def test_a_card_is_read_without_its_html_and_pictures():
    card = card_of(
        "---\nlicense: other\nlicense_name: llama3\nbase_model:\n- a/b\nlanguage: en\n---\n"
        '<div align="center"><img src="https://t/x.png" onerror=alert(1)>\n<h1>Big</h1></div>\n'
        "# Title\n\n![banner](https://t/b.png) [![badge](https://t/s.svg)](https://x) words\n"
        "<!-- note --><script>alert(1)</script><style>p{}</style>\n\n"
        "```html\n<b>kept</b>\n```\nIt thinks in <think> and `<b>`.\n"
    )
    assert (card.licence, card.base, card.languages) == ("llama3", ("a/b",), ("en",))
    assert "Title" in card.text
    assert "Big" in card.text
    assert "<b>kept</b>" in card.text
    assert "thinks in <think> and `<b>`." in card.text
    for gone in ("<img", "<div", "alert", "https://t/", "note", "p{}"):
        assert gone not in card.text


@pytest.mark.parametrize(
    "head", ["- a\n- b", "a: [", "&a [*a]", "license: [[[[[", "x: !!python/object:os.system a"]
)
def test_a_head_that_cannot_be_read_says_nothing(head: str):
    card = card_of(f"---\n{head}\n---\nwords")
    assert (card.licence, card.base, card.text) == ("", (), "words")


def test_hostile_cards_cost_no_time():
    for text in ("<" * 200_000, "![" * 100_000, "<!--" * 50_000, "```\n" * 50_000, "[](" * 90_000,
                 "<script>" * 20_000, "<a " * 60_000, "`" * 60_000, "`a" * 60_000):  # fmt: skip
        assert len(card_of(text).text) <= 60_000


# --- searching --------------------------------------------------------------------------


class Slow:
    """A hub that answers when it is let, and what a page was shown."""

    endpoint = "https://hub"

    def __init__(self) -> None:
        self.gates, self.text, self.shown = dict[str, asyncio.Event](), "", list[Any]()

    async def search(self, query: str) -> list[Found]:
        await self.gates.setdefault(query, asyncio.Event()).wait()
        return [Found(query)]

    async def show_results(self, client: Any, text: str, found: Any, trouble: str = "") -> None:
        self.text = text
        self.shown += found or []

    def searched(self, client: Any) -> str:
        return self.text


def test_pickled_files_are_not_said_to_fit(tmp_path: Path):
    [choice] = seen(tmp_path, Address("me/mine"), "config.json", "pytorch_model.bin")["choices"]
    assert (choice["fit"], choice["takes"]) == ("to be converted before it can be loaded", "")


def test_marks_that_turn_a_text_around_are_not_shown(tmp_path: Path):
    [choice] = seen(tmp_path, Address("me/mine"), "x\u202efugg\u2069.gguf")["choices"]
    assert (choice["label"], choice["name"]) == ("xfugg.gguf", "xfugg.gguf")
    assert choice["id"] == "x\u202efugg\u2069.gguf"
    card = card_of("---\nlicense: m\u202eit\n---\n# A\u202eB\x1b\n\nשבת\tyou")
    assert (card.licence, card.text) == ("mit", "# AB\n\nשבת\tyou")


LOADED = {
    # What came, and what the picker calls it.
    ("README.md",): "",
    ("mmproj-F16.gguf",): "",
    ("m-00001-of-00002.gguf",): "",
    ("m-Q4_0.gguf", "mmproj-F16.gguf"): "me_mine/m-Q4_0.gguf",
    ("config.json", "tokenizer.json"): "",
    ("config.json", "model.safetensors"): "me_mine",
    ("config.json", "pytorch_model.bin"): "me_mine",
}


@pytest.mark.parametrize("came", LOADED)
def test_what_can_be_loaded_is_offered_for_that(came: tuple[str, ...]):
    items = holds(*came).items
    plan = Plan("me/mine", "main", "0", "models", "me_mine", items)
    assert model_of(Entry("1", Kept(plan))) == LOADED[came]
    assert model_of(Entry("1", Kept(structs.replace(plan, root="loras")))) == ""


def seen(tmp_path: Path, address: Address, *paths: str) -> dict[str, Any]:
    """What the page shows of a repository with these files."""
    look = Look(address)
    look.repository = holds(*paths)
    look.choices = choices(look.repository)
    return views.repository(look, Room(3 * GB // 2), Places(tmp_path, tmp_path), "https://hub", ())


NAMED = {
    # What was named, and then: the form that is marked, the file that is ticked, what is not there.
    "": ("m-Q4_K_M.gguf", "", ""),
    "m-Q8_0.gguf": ("m-Q8_0.gguf", "", ""),
    "Q2": ("Q2/m-Q2_K-00001-of-00002.gguf", "", ""),
    "Q2/m-Q2_K-00002-of-00002.gguf": ("Q2/m-Q2_K-00001-of-00002.gguf", "", ""),
    "README.md": ("m-Q4_K_M.gguf", "README.md", ""),
    "mmproj-F16.gguf": ("m-Q4_K_M.gguf", "mmproj-F16.gguf", ""),
    "texts": ("m-Q4_K_M.gguf", "", ""),
    "gone.gguf": ("m-Q4_K_M.gguf", "", "gone.gguf"),
}


@pytest.mark.parametrize("path", NAMED)
def test_the_file_that_an_address_names_is_offered(tmp_path: Path, path: str):
    split = ("Q2/m-Q2_K-00001-of-00002.gguf", "Q2/m-Q2_K-00002-of-00002.gguf")
    files = ("m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md", "mmproj-F16.gguf", "texts/a.txt", *split)
    view = seen(tmp_path, Address("me/mine", path=path), *files)
    [best] = [each for each in view["choices"] if each["best"]]
    assert view["choices"][0] is best
    assert (best["name"], view["ticked"], view["lacks"]) == NAMED[path]
    assert view["meant"] == (path.startswith("Q2") or path == "m-Q8_0.gguf")
    assert view["files"][0]["path"] == (path if path in files else files[0])


def test_a_quantization_that_an_address_names_is_offered(tmp_path: Path):
    for named, lacks in (("Q8_0", ""), ("Q2_K", "Q2_K")):
        at = Address("me/mine", quantization=named)
        view = seen(tmp_path, at, "m-Q4_K_M.gguf", "m-Q8_0.gguf")
        assert (view["meant"], view["lacks"]) == (not lacks, lacks)


async def test_what_was_asked_with_another_token_does_not_answer_for_this_one():
    answers = [asyncio.Event(), asyncio.Event()]
    waiting = iter(answers)

    async def repository(*address: str) -> Repository:
        await next(waiting).wait()
        return holds("m-Q4_0.gguf")

    async def thread(call: Any, *args: Any) -> Any:
        return call(*args)

    async def told(address: Address) -> None:
        """Nobody looks."""

    ext = SimpleNamespace(spawn=lambda work, name: asyncio.ensure_future(work), thread=thread)
    looks = Looks(ext, SimpleNamespace(repository=repository), told)  # type: ignore[arg-type]
    address = Address("me/gated")
    looks.at(address)
    await asyncio.sleep(0)
    looks.forget()
    whole = asyncio.ensure_future(looks.whole(address))
    await asyncio.sleep(0)
    answers[0].set()
    for _ in range(9):
        await asyncio.sleep(0)
    again = asyncio.ensure_future(looks.whole(address))
    await asyncio.sleep(0)
    assert not again.done(), "it waits for the answer to the new question"
    answers[1].set()
    assert (await whole) is (await again)
    assert (await again).repository


async def test_the_answer_to_words_that_were_changed_meanwhile_is_not_shown(tmp_path: Path):
    slow = Slow()
    ext = SimpleNamespace(on=lambda kind: lambda handler: handler, models=tmp_path, loras=tmp_path)
    desk = Desk(ext, slow, None, slow, None)  # type: ignore[arg-type]
    older = asyncio.create_task(desk.search(None, "older"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    newer = asyncio.create_task(desk.search(None, "newer"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    slow.gates["newer"].set()
    await newer
    slow.gates["older"].set()
    await older
    assert slow.shown == [Found("newer")]
