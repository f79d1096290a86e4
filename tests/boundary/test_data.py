"""C29: hostile data is answered with a sentence; nobody waits, nobody innocent is blamed."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from extensions.engine_kit.defaults import from_folder
from extensions.engine_kit.safetensors import shards
from extensions.settings.actions import Configure
from kernel.api import Refused, Sampling
from kernel.clients import Client
from kernel.manifest import Manifest
from kernel.records import Appearance
from kernel.server import Server
from kernel.settings import SettingsFile
from kernel.testing import running
from tests.boundary.places import Place
from tests.boundary.served import Served, served
from tests.live import ROOT

DEEP = 100_000
MB = 1 << 20
NESTED = "[" * DEEP + "]" * DEEP
AS_DEEP_AS_JSON_GOES = '{"a":' * 900 + "1" + "}" * 900
"""It can be read, and what walks it must not fall."""
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1" + "0" * 30, "-1", "-0", "0", "1e30",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\u202e"', '"../../x"', '""', "null", "true",
    "[]", "{}", '[["x"]]', '{"a": {"b": 1}}', NESTED, AS_DEEP_AS_JSON_GOES,
    json.dumps(NESTED), json.dumps(AS_DEEP_AS_JSON_GOES), '"' + "x" * 100_000 + '"',
)  # fmt: skip
"""What stands where a text or a number was meant, as JSON."""
UNREADABLE = (
    "", "[", "{", "null", "[]", '"x"', "{}}", '{"action": }', "\x00", "\ufeff{}", "{'action': 1}",
    "[" * DEEP, '{"a":' * DEEP, '{"action": "chat.send", "text": ' + NESTED + "}",
    '{"action": "chat.send", "text": NaN}', '{"action": "chat.send", "text": Infinity}',
    b'{"action": "chat.send", "text": "\\ud800"}', b"\xff\xfe{}", b'{"action": "chat.new"}',
)  # fmt: skip
UNKNOWN = ("{}", '{"action": null}', '{"action": [[1]]}', '{"action": "x"}', '{"action": NESTED}',
           '{"action": "' + "x" * 500_000 + '"}')  # fmt: skip


def page(server: Served) -> connect:
    key = {"Authorization": f"Bearer {server.key}"}
    url = f"ws://{server.name}/ws?path=/settings"
    return connect(url, additional_headers=key, max_size=None, proxy=None)


async def heard(socket: ClientConnection, words: str) -> str:
    """The next part that says this."""
    while words not in (part := str(await socket.recv())):
        pass
    return part


async def refused(socket: ClientConnection, text: str) -> None:
    """Send it, and listen for what comes of it."""
    await socket.send(text)
    await heard(socket, "never said")


async def alive(socket: ClientConnection) -> None:
    """The page is still answered; on a busy machine that takes a while."""
    begun = time.monotonic()
    await socket.send('{"action": "none.such"}')
    await heard(socket, "none&#39; is switched off")
    assert time.monotonic() - begun < 10


def calm(server: Served) -> None:
    """Nothing of it was more than an answer to who sent it."""
    lines = server.said.splitlines()
    failed = [each for each in lines if "Traceback" in each or "failed" in each]
    assert not [each for each in failed if "took longer than" not in each], server.said


async def test_c29_what_cannot_be_read_is_said_to_be(server: Served):
    async with page(server) as socket:
        for text in UNREADABLE:
            await socket.send(text)
            await heard(socket, "The page sent something unreadable. Reload it.")
        await alive(socket)
    calm(server)


async def test_c29_actions_that_are_none(server: Served):
    async with page(server) as socket:
        for text in UNKNOWN:
            await socket.send(text.replace("NESTED", AS_DEEP_AS_JSON_GOES))
            assert len(await heard(socket, "is switched off")) < 1000
        await alive(socket)
    calm(server)


@pytest.mark.timeout(600)  # Thousands of frames: each action, each of its fields, each odd value.
async def test_c29_odd_values_in_every_field_of_every_action(
    server: Served,
    action_fields: list[tuple[str, str, list[str]]],
    pytestconfig: pytest.Config,
):
    """All of them with --long; else each field has a twelfth, the next the next."""
    assert len(action_fields) > 40
    shares = 1 if pytestconfig.getoption("--long") else 12
    async with page(server) as socket:
        for number, (name, field, needed) in enumerate(action_fields):
            for value in VALUES[number % shares :: shares]:
                rest = "".join(f', {json.dumps(n)}: "0"' for n in needed if n != field)
                await socket.send(f'{{"action": "{name}", "{field}": {value}{rest}}}')
            await alive(socket)
            assert "Traceback" not in server.said, (name, field)
    calm(server)
    answer = server.ask("GET", "/settings", {"Authorization": f"Bearer {server.key}"})
    assert answer.status == 200
    assert "settings-group_chat-up" in answer.text
    assert "settings.retry" not in answer.text, "none failed or was set aside"


async def test_c29_what_a_notice_quotes_is_cut(server: Served):
    """So that a few notices cannot be more than a page may be behind, and be forgotten."""
    async with page(server) as socket:
        for action in ("update", "rollback"):
            await socket.send(json.dumps({"action": f"workshop.{action}", "id": NESTED}))
            assert len(await heard(socket, 'class="toast')) < 2000
        await alive(socket)


async def test_c29_every_message_with_something_odd_is_answered(server: Served):
    """One sentence for each, which ends with what can be done."""
    async with page(server) as socket:
        for value in VALUES:
            await socket.send(f'{{"action": "settings.move", "to": {value}, "id": "none"}}')
            part = await heard(socket, 'class="toast')
            assert ". " in part or "must be" in part, value[:50]


@pytest.mark.parametrize("size", [5, 50])
async def test_c29_a_message_of_many_megabytes_ends_its_own_connection(server: Served, size: int):
    async with page(server) as socket, page(server) as other:
        with pytest.raises(ConnectionClosed) as closed:
            await refused(socket, '{"action": "chat.send", "text": "' + "x" * (size * MB) + '"}')
        # Who is still sending when it is closed may find the connection gone before the reason.
        assert not closed.value.rcvd or closed.value.rcvd.code == 1009
        await alive(other)
    async with page(server) as socket:
        await alive(socket)
    calm(server)


async def test_c29_a_message_just_too_large_is_told_so(server: Served):
    async with page(server) as socket:
        await socket.send('{"action": "none.such", "x": "' + "x" * (4 * MB - 100) + '"}')
        await heard(socket, "none&#39; is switched off")
        with pytest.raises(ConnectionClosedError) as closed:
            await refused(socket, "x" * (4 * MB + 1))
        assert not closed.value.rcvd or closed.value.rcvd.code == 1009


async def test_what_the_composer_takes_fits_in_one_message_in_every_script(server: Served):
    """Else the page is closed on who sends it, and again when it comes back with the draft."""
    composer = (ROOT / "extensions/chat/templates/_composer.html").read_text("utf-8")
    found = re.search(r'maxlength="(\d+)"', composer)
    assert found
    text = "語" * int(found[1])
    async with page(server) as socket:
        await socket.send(json.dumps({"action": "none.such", "text": text}, ensure_ascii=False))
        await heard(socket, "none&#39; is switched off")


def test_c29_fifty_megabytes_are_refused_everywhere(
    server: Served, pages: list[Place], request: pytest.FixtureRequest
):
    """By what is claimed, before it comes, and by what comes; without --long once an extension."""
    key = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    whole = b'{"prompt": "' + b"x" * (50 * MB) + b'"}'
    if not request.config.getoption("--long"):
        pages = [*{(place.owner, place.access): place for place in pages}.values()]
    for place in pages:
        for method in {"POST", "PUT"} & set(place.methods):
            begun = time.monotonic()
            claims = {**key, "Content-Length": str(1 << 40)}
            assert server.ask(method, place.sample, claims).status in (400, 413), place
            status = sent(server, method, place.sample, key, whole)
            if place.access in ("public", "page"):  # Pictures and archives may be that large.
                assert status == 413, place
            assert status < 500 or status == 503, place  # no model is loaded
            assert time.monotonic() - begun < 10, place
    assert sent(server, "POST", "/login", {"Origin": server.origin}, whole) == 413
    calm(server)


def sent(server: Served, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    """The status, when it is refused while it is still being sent."""
    try:
        return server.ask(method, path, headers, body).status
    except (BrokenPipeError, ConnectionResetError):
        return 413


async def test_c29_a_page_that_is_gone_ends_its_connection_once():
    """What it is sent fails in the moment in which it says goodbye."""
    async with running() as app:
        gone = Client("x", "", "/settings")
        begun = asyncio.Event()

        async def send(texts: list[bytes]) -> None:
            begun.set()
            await asyncio.sleep(0)
            raise OSError("it is gone")

        async with app.kernel.hub._connected(gone, send):
            gone.outbox.put("x", "<p></p>")
            await begun.wait()
            sender = next(t for t in asyncio.all_tasks() if t.get_name() == "outbox:x")
            while not sender.done():
                await asyncio.sleep(0)
        assert gone not in app.kernel.hub.clients


# --- files ---------------------------------------------------------------------------------

MUCH, NOTHING = "(50 MB)", "(50 MB of nothing)"
"""Written out where they are used: all processes that tests run in have these tables."""
MANIFEST = 'id = "odd"\nname = "Odd"\nsummary = "x"\nversion = "1"\napi = 1\n'
MANIFESTS = {
    "nested": f"{MANIFEST}x = {NESTED}",
    "nested tables": f"{MANIFEST}x = " + "{a=" * DEEP,
    "a name of many parts": f"{MANIFEST}" + ".".join("a" * DEEP) + " = 1",
    "50 MB": f'{MANIFEST}license = "{MUCH}"',
    "50 MB of nothing": NOTHING,
    "a number of many digits": f"{MANIFEST}x = {'9' * 5000}",
    "no number": MANIFEST.replace("1\n", "nan\n"),
    "half a character": f'{MANIFEST}license = "\\ud800"',
    "nothing": "",
    "no text": MANIFEST.replace('"Odd"', "[[1]]"),
}
SETTINGS = {
    "nested": f"extensions: {NESTED}",
    "nested mappings": "extensions: " + "{a: " * DEEP,
    "50 MB": f"server:\n  host: {MUCH}",
    "50 MB of nothing": NOTHING,
    "a number of many digits": f"server:\n  patience: {'9' * 5000}",
    "no number": "server:\n  patience: .nan",
    "half a character": 'server:\n  open_browser: false\nappearance:\n  theme: "\\ud800"',
    "no settings": "[[[1]]]",
}


def whole(text: str) -> str:
    return text.replace(NOTHING, "\n" * (50 * MB)).replace(MUCH, "x" * (50 * MB))


@pytest.mark.parametrize("what", MANIFESTS)
def test_c29_a_hostile_manifest_is_refused_with_a_sentence(tmp_path: Path, what: str):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "extension.toml").write_text(whole(MANIFESTS[what]), "utf-8")
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"^extension\.toml cannot be used: .+") as refusal:
        Manifest.read(folder)
    assert time.monotonic() - begun < 10
    assert len(str(refusal.value)) < 300
    assert "recursion" not in str(refusal.value)


@pytest.mark.parametrize("what", SETTINGS)
def test_c29_hostile_settings_are_told_and_change_nothing(tmp_path: Path, what: str):
    file = tmp_path / "settings.yaml"
    file.write_text("server:\n  open_browser: false\n", "utf-8")
    settings = SettingsFile(file, tmp_path / "secrets")
    assert not settings.section("server", Server).open_browser
    file.write_text(whole(SETTINGS[what]), "utf-8")
    begun = time.monotonic()
    settings.reload()
    settings.section("appearance", Appearance)
    assert time.monotonic() - begun < 5
    assert settings.section("server", Server).patience == 10
    assert settings.problems
    for sentence in settings.problems.values():
        assert len(sentence) < 300
        assert "recursion" not in sentence


def test_c29_a_server_starts_beside_hostile_files(tmp_path: Path):
    """The cards say what is wrong; settings.yaml is as it was."""
    data = tmp_path / "data"
    for number, text in enumerate(MANIFESTS.values()):
        folder = data / "extensions" / f"odd_{number}"
        folder.mkdir(parents=True)
        (folder / "extension.toml").write_text(whole(text), "utf-8")
    (data / "settings.yaml").write_text(SETTINGS["nested"], "utf-8")
    with served(tmp_path) as server:
        shown = server.ask("GET", "/settings", {"Authorization": f"Bearer {server.key}"}).text
        assert "Traceback" not in server.said
    assert shown.count("extension.toml cannot be used") == len(MANIFESTS)
    assert "it is nested too deeply" in shown
    assert (data / "settings.yaml").read_text("utf-8") == SETTINGS["nested"]


ODD_JSON = (
    NESTED, '{"a":' * DEEP, "[]", "NaN", '{"temperature": NaN}', '"\\ud800"', "\0",
    '{"temperature": ' + "9" * 5000 + "}",
)  # fmt: skip


@pytest.mark.parametrize("text", ODD_JSON)
def test_c29_what_a_model_brings_along_is_taken_or_left(tmp_path: Path, text: str):
    (tmp_path / "generation_config.json").write_text(text, "utf-8")
    assert from_folder(tmp_path) == Sampling()
    (tmp_path / "model.safetensors.index.json").write_text(text, "utf-8")
    with pytest.raises(Refused, match="is damaged"):
        shards(tmp_path)


@pytest.mark.parametrize("text", [NESTED, AS_DEEP_AS_JSON_GOES, "[]", "NaN", "1", '{"id": 1}', ""])
def test_c29_what_a_form_says_it_showed(text: str):
    assert Configure("chat", as_shown=text, rest={"a": "1"}).changed() == {"a": "1"}
