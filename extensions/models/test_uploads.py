"""Models that a page sends: they come in pieces, and are there when they are whole."""

import os
import shutil
import time
from collections import namedtuple
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from kernel.testing import App, Scripted, running
from tests.ggufs import a_gguf
from tests.sockets import Served, serving
from tests.test_names import HOSTILE

AT = "/ext/models/uploads"
GOOD = a_gguf({"general.name": "Sent"})
CONFIG = b'{"architectures": ["LlamaForCausalLM"]}'


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running("models", model=Scripted("Hi.")) as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


@pytest.fixture
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {served.key}"}
    async with httpx.AsyncClient(base_url=served.http, headers=headers, timeout=60) as web:
        yield web


async def offer(web: httpx.AsyncClient, files: Mapping[str, bytes]) -> httpx.Response:
    said = [{"path": path, "size": len(data)} for path, data in files.items()]
    return await web.post(AT, json={"files": said})


async def send(web: httpx.AsyncClient, files: Mapping[str, bytes], piece: int = 100) -> str:
    """Offer them and send them in pieces; answers the id."""
    answer = await offer(web, files)
    assert answer.status_code == 201, answer.text
    for number, data in enumerate(files.values()):
        for at in range(0, len(data), piece):
            address = f"{AT}/{answer.text}/{number}?at={at}"
            assert (await web.put(address, content=data[at : at + piece])).status_code == 204
    return answer.text


def lying(app: App) -> list[str]:
    """All files below models/, hidden ones too; what goes away meanwhile is passed by."""
    root = app.kernel.models
    folders = os.walk(root, onerror=lambda _: None)
    return sorted(
        (Path(folder) / name).relative_to(root).as_posix()
        for folder, _, names in folders
        for name in names
    )


async def test_a_file_comes_in_pieces_and_is_there_when_it_is_whole(
    app: App, web: httpx.AsyncClient
):
    page = await app.open("/models")
    answer = await offer(web, {"sent.gguf": GOOD})
    await web.put(f"{AT}/{answer.text}/0?at=0", content=GOOD[:50])
    assert not (app.kernel.models / "sent.gguf").exists()
    assert "/models/file/sent.gguf" not in page.html
    again = await web.put(f"{AT}/{answer.text}/0?at=0", content=GOOD[:50])
    assert (again.status_code, again.text) == (409, "50"), "where it is to go on"
    await web.put(f"{AT}/{answer.text}/0?at=50", content=GOOD[50:])
    await page.until('href="/models/file/sent.gguf"')
    await page.until("llama · 16 · F32")
    assert lying(app) == ["sent.gguf"]
    assert (app.kernel.models / "sent.gguf").read_bytes() == GOOD


async def test_a_folder_comes_with_the_folders_in_it(app: App, web: httpx.AsyncClient):
    files = {"m/config.json": CONFIG, "m/model.safetensors": b"x" * 99, "m/deep/er/notes.md": b"y"}
    await send(web, files)
    await app.until(lambda: lying(app) == sorted(files))


async def test_an_adapter_goes_to_the_loras(app: App, web: httpx.AsyncClient):
    page = await app.open("/models")
    await send(web, {"style/adapter_config.json": b"{}", "style/adapter_model.safetensors": b"x"})
    await send(web, {"style.gguf": a_gguf({"general.type": "adapter"})}, 1000)
    loras = app.kernel.loras
    await app.until((loras / "style" / "adapter_model.safetensors").exists)
    await app.until((loras / "style.gguf").exists)
    await page.until("style.gguf is a LoRA adapter, and was put into")
    assert lying(app) == []


async def test_a_name_reaches_nothing_else(app: App, web: httpx.AsyncClient):
    before = set(app.kernel.data.rglob("*"))
    for name in HOSTILE:
        said = name.encode(errors="replace").decode()
        for path in (f"{said}/x.gguf", f"m/{said}/x.gguf"):
            files = [{"path": path, "size": 9}, {"path": "m/x.gguf", "size": 9}]
            answer = await web.post(AT, json={"files": files[: 1 + path.startswith("m/")]})
            assert answer.status_code == 409, ascii(path)
            assert answer.text.isprintable()
    assert set(app.kernel.data.rglob("*")) == before


Room = namedtuple("Room", "total used free")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"notes.txt": b"x"}, "notes.txt is no model"),
        ({"empty.gguf": b""}, "is empty"),
        ({"there.gguf": b"x"}, "There is already there.gguf"),
        ({"a.gguf": b"x", "b.gguf": b"x"}, "Send its files alone"),
        ({"m/a.gguf": b"x", "m/A.gguf": b"x"}, "two files of one name"),
        ({"/".join("abcdefghi") + "/x.gguf": b"x"}, "too many folders"),
    ],
)
async def test_what_is_no_model_or_has_no_place_is_refused(
    app: App, web: httpx.AsyncClient, files: dict[str, bytes], words: str
):
    app.kernel.models.mkdir(parents=True, exist_ok=True)
    (app.kernel.models / "there.gguf").write_bytes(b"mine")
    page = await app.open("/models")
    answer = await offer(web, files)
    assert (answer.status_code, words in answer.text) == (409, True)
    await page.until(words)
    assert lying(app) == ["there.gguf"]


async def test_without_room_nothing_begins(
    app: App, web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Room(1 << 40, 0, 1 << 20))
    answer = await offer(web, {"big.gguf": GOOD})
    assert "needs" in answer.text
    assert "Make room" in answer.text
    assert lying(app) == []


async def test_a_disk_that_fills_up_leaves_nothing_behind(
    app: App, web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    page = await app.open("/models")
    answer = await offer(web, {"big.gguf": GOOD})

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    before = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: full() if self.name == "big.gguf"
                        else before(self, *a, **k))  # fmt: skip
    sent = await web.put(f"{AT}/{answer.text}/0?at=0", content=GOOD)
    assert sent.status_code == 409
    await page.until("big.gguf could not be written .No space left on device.. Make room")
    await app.until(lambda: lying(app) == [])
    assert (await web.put(f"{AT}/{answer.text}/0?at=0", content=b"")).status_code == 404


async def test_a_cancelled_upload_leaves_nothing_behind(app: App, web: httpx.AsyncClient):
    answer = await offer(web, {"big.gguf": GOOD})
    await web.put(f"{AT}/{answer.text}/0?at=0", content=GOOD[:50])
    page = await app.open("/models")
    [id] = app.kernel.jobs.running
    await page.act("kernel.cancel_job", id=id)
    await app.until(lambda: lying(app) == [])
    gone = await web.put(f"{AT}/{answer.text}/0?at=50", content=GOOD[50:])
    assert gone.status_code == 404
    assert list((app.kernel.models / ".uploads").iterdir()) == []


async def test_more_than_was_said_is_refused(app: App, web: httpx.AsyncClient):
    answer = await offer(web, {"a.gguf": b"x" * 10})
    sent = await web.put(f"{AT}/{answer.text}/0?at=0", content=b"x" * 11)
    assert (sent.status_code, "larger than the page said" in sent.text) == (409, True)
    await app.until(lambda: lying(app) == [])


async def test_a_name_that_was_taken_meanwhile_is_not_written_over(
    app: App, web: httpx.AsyncClient
):
    page = await app.open("/models")
    answer = await offer(web, {"a.gguf": GOOD})
    (app.kernel.models / "a.gguf").write_bytes(b"mine")
    await web.put(f"{AT}/{answer.text}/0?at=0", content=GOOD)
    await page.until("There is already a.gguf in models/")
    await app.until(lambda: lying(app) == ["a.gguf"])
    assert (app.kernel.models / "a.gguf").read_bytes() == b"mine"


async def test_only_so_many_at_once(app: App, web: httpx.AsyncClient):
    for number in range(8):
        assert (await offer(web, {f"{number}.gguf": GOOD})).status_code == 201
    assert "Wait until one of them" in (await offer(web, {"9.gguf": GOOD})).text


async def test_nobody_uploads_without_the_key(served: Served):
    async with httpx.AsyncClient(base_url=served.http, timeout=60) as web:
        assert (await offer(web, {"a.gguf": GOOD})).status_code in (401, 403)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"files": []}', b'{"files": [{"path": 1}]}',
                                  b'{"files": [{"path": "a.gguf", "size": -1}]}'])  # fmt: skip
async def test_what_is_no_offer_is_refused(web: httpx.AsyncClient, body: bytes):
    assert (await web.post(AT, content=body)).status_code == 400


async def test_what_a_crash_left_behind_is_taken_away(tmp_path: Path):
    for name, age in (("old", 200_000), ("new", 0)):
        home = tmp_path / "models" / ".uploads" / name
        home.mkdir(parents=True)
        (home / "x.gguf").write_bytes(b"x")
        os.utime(home, (time.time() - age, time.time() - age))
    async with running("models", model=Scripted("Hi."), data=tmp_path) as app:
        assert app.kernel.models == tmp_path / "models"
        await app.until(lambda: lying(app) == [".uploads/new/x.gguf"])
