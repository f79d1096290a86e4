"""The section of the Model page, against the hub of the tests and with the hub's own library."""

import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from extensions.models.api import MODELS
from kernel.api import Refused
from kernel.testing import App, Scripted, running
from tests.hub import Hub, Repo

from . import hub as asking
from .hub import endpoint_of, token_of
from .plan import HUB
from .starters import NAME, SHIPPED, read

pytestmark = pytest.mark.engine
AT = "/models/downloader"
SECRET = "hf_abcdefghijklmnop"


@pytest.fixture
def hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Nobody's own token is told."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    return hub


@asynccontextmanager
async def finding(data: Path, environments: Path) -> AsyncGenerator[App]:
    python = environments / "hub" / "bin" / "python"
    async with running("downloader", data=data, python=python) as app:
        yield app


def holding(folder: Path, words: bytes) -> list[Path]:
    """The files below a folder with these words; what goes meanwhile has none."""
    found: list[Path] = []
    for path, _, names in os.walk(folder):
        for file in (Path(path, name) for name in names):
            with suppress(FileNotFoundError):
                found += [file] if words in file.read_bytes() else []
    return found


async def test_a_search_says_what_fits(hub: Hub, tmp_path: Path, environments_dir: Path):
    hub.add(Repo("me/tiny-tale", downloads=12_345, tags=("gguf",), parameters=1_000_000))
    hub.add(Repo("me/huge-tale", downloads=5, tags=("safetensors",), parameters=10**13))
    for repo in hub.repos.values():
        repo.commit({"config.json": "{}"})
    async with finding(tmp_path, environments_dir) as app:
        page = await app.open(AT)
        await page.act("downloader.search", text="tale")
        await page.until(r"tiny-tale.*GGUF · 1\.0M parameters · 12k downloads.*>fits<")
        await page.until(r"huge-tale.*10000B parameters.*too large for this machine")
        await page.act("downloader.search", text="nothing like it")
        await page.until("Nothing is called “nothing like it”")


async def test_what_is_asked_for_is_fetched_and_marked(
    hub: Hub, tmp_path: Path, environments_dir: Path
):
    files = {"m-Q4_K_M.gguf": 90_000, "mmproj-F16.gguf": 5_000, "README.md": "# Hi <b>there</b>"}
    hub.add(Repo("me/mine")).commit(files)
    hub.add(Repo("me/lora")).commit({"adapter_config.json": "{}", "adapter_model.safetensors": 900})
    async with finding(tmp_path, environments_dir) as app:
        page, ext = await app.open(AT), app.extension("downloader")
        await page.act("downloader.search", text=f"{hub.address}/me/mine/tree/main")
        await page.until("4 bits: the usual choice")
        await page.act("downloader.show_card", address="me/mine")
        await page.until(r"<h1>Hi there</h1>")
        await page.act("downloader.fetch", address="me/mine", choice="m-Q4_K_M.gguf", eyes=True)
        await app.until(lambda: (ext.models / "me_mine" / "mmproj-F16.gguf").is_file())
        await page.act("downloader.fetch", address="me/mine", choice="m-Q4_K_M.gguf")
        await app.until(lambda: (ext.models / "m-Q4_K_M.gguf").is_file())
        await page.until("is here")
        await page.act("downloader.fetch", address="me/lora", choice="safetensors")
        await app.until(lambda: (ext.loras / "me_lora" / "adapter_model.safetensors").is_file())
        await page.act("downloader.fetch", address="me/lora", choice="none such")
        await page.until("That is not there any more")
        await page.act("downloader.fetch_files", address="me/mine", rest={})
        await page.until("No file is chosen")


async def test_who_is_not_let_in_is_told_what_to_do(
    hub: Hub, tmp_path: Path, environments_dir: Path
):
    hub.add(Repo("me/gated", gated="manual")).commit({"m-Q4_0.gguf": 9})
    hub.add(Repo("me/private", private=True)).commit({"m-Q4_0.gguf": 9})
    hub.tokens[SECRET] = {"me/gated", "me/private"}
    async with finding(tmp_path, environments_dir) as app:
        page, ext = await app.open(AT), app.extension("downloader")
        await page.act("downloader.search", text="me/gated")
        await page.until(r"Its owner wants to be asked first.*sign in and accept the terms")
        await page.act("downloader.show_card", address="me/gated")
        link = '<a href="/settings#settings-downloader">the downloader'
        await page.until(f"set a token of yours in {link}")
        assert page.html.count(link) > 1, "in the words about the owner, too"
        other = await app.open(f"{AT}/me/gated")
        await other.until("wants to be asked first")
        other.html = ""
        await page.act("downloader.search", text="me/private")
        await page.until("is not let in|There is no model me/private")
        await app.configure("downloader", token=SECRET)
        await other.until("Download Q4_0")
        assert "wants to be asked first" not in other.html
        await page.act("downloader.search", text="me/private")
        await page.until("Q4_0")
        await page.act("downloader.fetch", address="me/gated", choice="m-Q4_0.gguf")
        await app.until(lambda: (ext.models / "m-Q4_0.gguf").is_file())
        assert SECRET not in page.html
        assert {file.parent.name for file in holding(tmp_path, SECRET.encode())} <= {"secrets"}


async def test_the_hub_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "PATIENCE", 0.0)
    python = Path(sys.executable)
    async with running("downloader", data=tmp_path, python=python) as app:
        asked = asking.Hub(app.extension("downloader"))
        with pytest.raises(Refused, match=r"^http://mirror.test does not answer"):
            await asked.card("me/mine", "main", "http://mirror.test")


@pytest.mark.parametrize("said", ["hf-mirror.com", "not an address", "ftp://x.org", "https://"])
async def test_a_mirror_that_is_no_address_is_refused(said: str):
    async with running("downloader") as app:
        wants = "Mirror must be an address, as https://hf-mirror.com."
        configure = app.kernel.changes.configure
        assert await configure("downloader", {"endpoint": said}) == {"endpoint": wants}
        assert await configure("downloader", {"endpoint": "https://hf-mirror.com/x"}) == {}
        assert await configure("downloader", {"endpoint": ""}) == {}


async def test_g61_a_mirror_that_a_link_leads_to_is_told_no_token(
    hub: Hub, tmp_path: Path, environments_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.add(Repo("me/mine")).commit({"m-Q4_0.gguf": 9})
    monkeypatch.setattr("extensions.downloader.addresses.MIRRORS", {"hf-mirror.com": hub.address})
    async with finding(tmp_path, environments_dir) as app:
        await app.configure("downloader", token=SECRET, endpoint="http://127.0.0.1:9")
        page = await app.open(AT)
        found = app.extension("downloader")
        assert found.settings.token.reveal() == SECRET
        await page.act("downloader.search", text="words")
        await page.until("127.0.0.1:9 cannot be reached .*Check the network, or set a mirror")
        from .addresses import address_of  # noqa: PLC0415  as it is while this runs
        from .hub import Hub as Asked  # noqa: PLC0415

        asked = Asked(found)
        assert asked.where() == ("http://127.0.0.1:9", SECRET)
        assert asked.where("https://hf-mirror.com") == ("https://hf-mirror.com", "")
        assert address_of("hf-mirror.com/me/mine").endpoint
        await asked.repository("me/mine", "main", hub.address)
    assert hub.asked
    assert not [asked for asked in hub.asked if "authorization" in asked.headers]


async def test_a_hostile_repository_writes_nothing(
    hub: Hub, tmp_path: Path, environments_dir: Path
):
    many = {f"f{n}.json": "{}" for n in range(10_000)}
    names = ("../out.gguf", "/abs.gguf", "a\\b.gguf", "CON.gguf", "x\u202egguf.gguf", ".h.gguf")
    hub.add(Repo("me/bad")).commit({**many, **dict.fromkeys(names, 9), "model.safetensors": 9})
    async with finding(tmp_path, environments_dir) as app:
        page, ext = await app.open(AT), app.extension("downloader")
        await page.act("downloader.search", text="me/bad")
        await page.until("File list: 10,007 files")
        assert len(page.html) < 1_000_000
        await page.act("downloader.fetch", address="me/bad", choice="safetensors")
        await page.until("more than a model has")
        for name in names:
            await page.act("downloader.fetch", address="me/bad", choice=name)
            await page.act("downloader.fetch_files", address="me/bad", rest={"file-1": name})
        await page.until("cannot be the name of a file: .*Take another file, or the model from")
        assert "Choose another name" not in page.html
        assert "\u202e" not in re.sub(r"value=\"[^\"]*\"", "", page.html)
        await app.until(lambda: not app.kernel.jobs.running)
        there = {file.name for root in (ext.models, ext.loras) for file in root.rglob("*.*")}
        assert there <= {"out.gguf", "abs.gguf"}, "under their own names, in the folder"
    assert hub.sent("model.safetensors") == 0


async def test_the_list_is_the_users_and_read_live(
    hub: Hub, tmp_path: Path, environments_dir: Path
):
    async with finding(tmp_path, environments_dir) as app:
        page, ext = await app.open(AT), app.extension("downloader")
        await page.until("Qwen3 0.6B.*Written on 2026-11-27 without asking")
        await page.act("downloader.own_list")
        own = ext.models / NAME
        assert own.read_bytes() == SHIPPED.read_bytes()
        own.write_text(
            "models:\n- {name: Mine, repo: me/mine, file: m-Q4_0.gguf, size: 9 B}\n- {name: No}\n"
        )
        await page.until(r"starters\.yaml, entry 2: it needs a “repo”\..*Mine.*This list is yours")
        hub.add(Repo("me/mine")).commit({"m-Q4_0.gguf": 9})
        await page.act("downloader.fetch_starter", repo="me/mine", file="M-q4_0.gguf")
        await app.until(lambda: (ext.models / "m-Q4_0.gguf").is_file())
        await page.until("Mine.*is here")
        await page.act("downloader.fetch_starter", repo="me/mine", file="gone.gguf")
        await page.until("me/mine has no file gone.gguf any more")


# --- without a hub ----------------------------------------------------------------------


def test_the_shipped_list_can_be_read():
    found = read(SHIPPED)
    assert found.troubles == ()
    assert found.written == "2026-11-27"
    assert len(found.models) >= 10
    for each in found.models:
        assert each.bytes > 10**8, each.name
        assert each.file.endswith(".gguf")
        assert each.licence
        assert each.says.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [", "line 1"),
        ("- a", "must begin with “models:”"),
        ("models: {a: b}", "belongs a list"),
        ("models: [{name: x, repo: x, file: x}]", "“repo” must be like user/name"),
        ("models: [{name: x, repo: a/b, file: x, colour: red}]", "“colour” is not known"),
        ("models: [3]", "entry 1"),
        ("x" * 300_000, "larger than"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30)),
            "repeat too much",
        ),
        ("a: !!python/object/apply:os.system [ls]", "line 1"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(tmp_path: Path, text: str, said: str):
    file = tmp_path / NAME
    file.write_text(text)
    found = read(file)
    assert found.models == ()
    (trouble,) = found.troubles
    assert re.search(said, trouble), trouble
    assert trouble.startswith(NAME)


def test_where_models_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert endpoint_of("") == HUB
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.test/")
    assert endpoint_of("") == "https://mirror.test"
    assert endpoint_of("https://other.test") == "https://other.test"
    assert endpoint_of("no address") == "https://mirror.test"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert token_of("") == ""
    (tmp_path / "token").write_text("hf_file\n")
    assert token_of("") == "hf_file"
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    assert token_of("") == "hf_env"
    assert token_of("hf_set") == "hf_set"


@pytest.mark.parametrize("unseen", ["\u200b{}", "{}\ufeff", " {}\u200d ", "“{}”", "{}\nhf_old"])
def test_a_token_is_told_without_what_was_pasted_along(
    unseen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """No header takes such letters: nothing could be asked at all."""
    pasted = unseen.format("hf_mine")
    assert token_of(pasted) == "hf_mine"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text(pasted, "utf-8")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert token_of("") == "hf_mine"


async def test_the_guide_s_row_says_whether_it_is_loaded(tmp_path: Path):
    model = Scripted("Hi.")
    async with running("downloader", model=model, data=tmp_path) as app:
        guide = app.kernel.models / "guide" / "guide.gguf"
        guide.parent.mkdir(parents=True, exist_ok=True)
        guide.write_bytes(b"GGUF")
        [models] = app.kernel.registry.values(MODELS)
        await models.look()
        page = await app.open(AT)
        await page.until('id="downloader-guide-load"')
        model.info, page.html = replace(model.info, path=str(guide)), ""
        await app.kernel.slot().load(guide)
        assert "downloader-guide-load" not in await page.until("The guide</b>.*?is loaded")
        late = await app.open(AT)  # It shows so from the beginning, and is told of the end.
        assert "downloader-guide-load" not in late.html
        late.html = ""
        await app.kernel.slot().unload()
        await late.until('id="downloader-guide-load"')
