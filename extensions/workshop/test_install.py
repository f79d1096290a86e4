"""Bringing extensions in: review, consent, update, rollback, and a kill at each step."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from extensions.workshop import command_line, installer, trees
from extensions.workshop.finding import Finding
from extensions.workshop.installer import Installer
from extensions.workshop.review import Review
from extensions.workshop.shelf import Shelf
from kernel.api import Kernel, Manifest, Refused, Status
from kernel.testing import ROOT, App, Page, running

MANIFEST = 'id = "loom"\nname = "Loom"\nversion = "{version}"\nsummary = "Weaves."\napi = 1\n{more}'
CODE = """
from pathlib import Path
Path({canary!r}).touch()
async def setup(ext): ext.emit(("loom", {version!r}))
"""


def loom(folder: Path, version: str = "1", more: str = "", code: str | None = None) -> Path:
    """An extension that leaves a mark when it is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "extension.toml").write_text(MANIFEST.format(version=version, more=more))
    canary = str(folder.parent / "imported")
    text = CODE.format(canary=canary, version=version) if code is None else code
    (folder / "__init__.py").write_text(text)
    return folder


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"loom/{path.name}")
    return file


async def bring(app: App, source: Path) -> str:
    """Install from the command line, agreeing to what is there; answers the hash."""
    installer = Installer(app.kernel)
    shown = installer.fetch(str(source), lambda f, n: None, lambda: False)
    await installer.use(shown, shown.sha256, lambda f, n: None)
    return shown.sha256


def near(app: App) -> Page:
    page = app.page("/settings/workshop")
    page.client.near = True
    return page


def used(kernel: Kernel) -> str:
    """The version of the loom that is on the shelf, "" for none."""
    installed = Shelf(kernel.data / "installed").get("loom")
    return installed.now.version if installed else ""


async def free(app: App, page: Page) -> None:
    """Wait until nothing is being brought in."""
    await app.until(lambda: not app.kernel.jobs.running)
    await app.settled()


async def test_nothing_of_it_runs_before_the_consent(tmp_path: Path):
    source = loom(tmp_path / "src" / "loom")
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        app.kernel.only = None
        with pytest.raises(Refused, match=r"--consent [0-9a-f]{64}") as told:
            await command_line.install(app.kernel, [str(source)])
        assert not (tmp_path / "src" / "imported").exists()
        assert "loom" not in app.kernel.records
        assert not (tmp_path / "data" / "installed").exists()
        consent = str(told.value).split()[-1]
        await command_line.install(app.kernel, [str(source)], consent)
        assert (tmp_path / "src" / "imported").exists()
        assert app.kernel.records["loom"].is_(Status.RUNNING)
        assert not (tmp_path / "data" / "state" / "workshop" / "staging").exists()


async def test_a_command_starts_nothing(tmp_path: Path):
    source, data = loom(tmp_path / "src" / "loom"), tmp_path / "data"
    told = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-P", "-m", "kernel", "install", source),
            *("--data-dir", data, "--consent", trees.digest(source)),
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
    assert "Loom 1 is installed." in told.stdout
    assert not (tmp_path / "src" / "imported").exists()
    assert not (data / "chats.sqlite3").exists()


@pytest.mark.parametrize(("said", "taken"), [("yes\n", True), ("no\n", False), ("", False)])
async def test_a_terminal_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, taken: bool
):
    source = loom(tmp_path / "src" / "loom")
    keyboard = io.StringIO(said)
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", keyboard)
    async with running("workshop", data=tmp_path / "data") as app:
        with nullcontext() if taken else pytest.raises(Refused, match="Nothing was installed"):
            await command_line.install(app.kernel, [str(source)])
        assert ("loom" in app.kernel.records) == taken


@pytest.mark.parametrize(("said", "taken"), [("yes\n", "2"), ("no\n", "1"), (None, "2")])
async def test_a_terminal_is_asked_before_an_update_too_and_a_script_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, taken: str
):
    source = loom(tmp_path / "src" / "loom")
    keyboard = io.StringIO(said or "")
    monkeypatch.setattr(keyboard, "isatty", lambda: said is not None)
    monkeypatch.setattr(sys, "stdin", keyboard)
    async with running("workshop", data=tmp_path / "data") as app:
        await bring(app, source)
        loom(source, "2")
        with nullcontext() if taken == "2" else pytest.raises(Refused, match="Nothing was"):
            await command_line.update(app.kernel, "loom")
        assert used(app.kernel) == taken


async def test_f54_what_changed_after_it_was_shown_is_refused(tmp_path: Path):
    source = loom(tmp_path / "src" / "loom")
    async with running("workshop", data=tmp_path / "data") as app:
        installer = Installer(app.kernel)
        shown = installer.fetch(str(source), lambda f, n: None, lambda: False)
        for consent, edit in (("0" * 64, ""), (shown.sha256, "import os\n")):
            with (installer.staging / "tree" / "loom" / "__init__.py").open("a") as file:
                file.write(edit)
            with pytest.raises(Refused, match="not what you were shown"):
                await installer.use(shown, consent, lambda f, n: None)
        assert "loom" not in app.kernel.records


async def test_what_changed_while_its_libraries_came_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As another installer would, which began in the same folder."""
    source = loom(tmp_path / "src" / "loom", more='[worker]\nenvironment = "loom"')
    async with running("workshop", data=tmp_path / "data") as app:
        mine = Installer(app.kernel)
        shown = mine.fetch(str(source), lambda f, n: None, lambda: False)

        async def prepare(kernel: Kernel, manifest: Manifest, *_: object) -> None:
            with (mine.staging / "tree" / "loom" / "__init__.py").open("a") as file:
                file.write("import os\n")

        monkeypatch.setattr(installer, "prepare", prepare)
        with pytest.raises(Refused, match="not what you were shown"):
            await mine.use(shown, shown.sha256, lambda f, n: None)
        assert "loom" not in app.kernel.records
        assert not used(app.kernel)
        page = Installer(app.kernel, mine.finding)
        assert page.staging != mine.staging, "a terminal and the page take nothing from each other"


async def test_an_environment_is_made_with_the_lock_that_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At first and with an update; that of another extension is nobody's but theirs."""
    source = loom(tmp_path / "src" / "loom", more='[worker]\nenvironment = "loom"')
    made: list[str] = []
    async with running("workshop", data=tmp_path / "data") as app:
        workers = app.kernel.workers

        async def prepare(manifest: Manifest, variant: str, _: object, folder: Path) -> None:
            env = workers.environment(manifest, variant, folder)
            made.append(env.lock.read_text() if env.lock else "")

        monkeypatch.setattr(workers, "prepare", prepare)
        for version in ("1", "2"):
            loom(source, version, more='[worker]\nenvironment = "loom"')
            (source / "requirements-loom.lock").write_text(f"yarn=={version}\n")
            await bring(app, source)
            record = app.kernel.records["loom"]
            assert record.manifest
            lock = workers.environment(record.manifest).lock
            assert lock
            assert made[-1] == lock.read_text() == f"yarn=={version}\n"


async def test_what_was_installed_and_went_can_come_again(tmp_path: Path):
    source = loom(tmp_path / "src" / "loom")
    async with running("workshop", data=tmp_path / "data") as app:
        app.kernel.only = None
        await bring(app, source)
        shelf = Shelf(app.kernel.data / "installed")
        installed = shelf.get("loom")
        assert installed
        shutil.rmtree(shelf.folder("loom", installed.now).parent)
        await Finding(app.kernel).refresh()
        assert "loom" not in app.kernel.records
        shown = Installer(app.kernel).fetch(str(source), lambda f, n: None, lambda: False)
        assert not shown.same
        await bring(app, source)
        assert app.kernel.records["loom"].is_(Status.RUNNING)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('permissions = ["network:none", "files:read models"]', "reading files in models"),
        ("permissions = []", "no longer promises to stay off the network"),
        ('paths = ["/weave"]', "answers at /weave"),
        ('[requires]\npython = ["yarn==1"]', "Python package yarn==1"),
        ('[worker]\nenvironment = "loom"\npython = ["yarn==1"]', "engine needs yarn==1"),
        ('[requires]\nextensions = ["settings"]', "needs the extension settings"),
    ],
)
async def test_f54_an_update_that_asks_for_more_needs_fresh_consent(
    tmp_path: Path, more: str, words: str
):
    source = loom(tmp_path / "src" / "loom", more='permissions = ["network:none"]')
    async with running("workshop", data=tmp_path / "data") as app:
        await bring(app, source)
        asks = more if "permissions" in more else f'permissions = ["network:none"]\n{more}'
        loom(source, "2", more=asks)
        with pytest.raises(Refused, match="nobody is here to agree"):
            await command_line.update(app.kernel, "loom")
        assert used(app.kernel) == "1"
        page = near(app)
        await page.act("workshop.update", id="loom")
        await page.until(f"New in this version.*{words}")
        assert used(app.kernel) == "1"


async def test_f54_an_update_that_asks_for_nothing_new_is_one_click_and_so_is_the_way_back(
    tmp_path: Path,
):
    source = loom(tmp_path / "src" / "loom", more='permissions = ["network:none", "processes"]')
    async with running("workshop", data=tmp_path / "data") as app:
        app.kernel.only = None
        await bring(app, source)
        page = near(app)
        await page.act("workshop.update", id="loom")
        await page.until("Loom 1 is the newest")
        loom(source, "2", more='permissions = ["network:none"]')
        await page.act("workshop.update", id="loom")
        await page.until("Go back to 1")
        await free(app, page)
        assert used(app.kernel) == "2"
        assert app.kernel.records["loom"].manifest.version == "2"  # type: ignore[union-attr]
        assert app.kernel.records["loom"].is_(Status.RUNNING)
        for version in ("1", "2", "1"):
            page.html = ""
            await page.act("workshop.rollback", id="loom")
            await free(app, page)
            assert used(app.kernel) == version
            assert app.kernel.records["loom"].manifest.version == version  # type: ignore[union-attr]
        await page.act("workshop.remove", id="loom")
        await free(app, page)
        assert "loom" not in app.kernel.records
        assert list((tmp_path / "data" / "installed").iterdir()) == []


async def test_f54_a_version_whose_files_were_changed_is_not_gone_back_to(tmp_path: Path):
    source = loom(tmp_path / "src" / "loom")
    async with running("workshop", data=tmp_path / "data") as app:
        await bring(app, source)
        await bring(app, loom(source, "2"))
        shelf = Shelf(tmp_path / "data" / "installed")
        kept = shelf.get("loom")
        assert kept
        assert kept.before
        (shelf.folder("loom", kept.before) / "__init__.py").write_text("evil()")
        with pytest.raises(Refused, match="not those that were installed"):
            await command_line.rollback(app.kernel, "loom")
        assert used(app.kernel) == "2"


async def test_an_update_that_does_not_run_can_be_taken_back_in_the_page(tmp_path: Path):
    source = loom(tmp_path / "src" / "loom")
    async with running("workshop", data=tmp_path / "data") as app:
        app.kernel.only = None
        await bring(app, source)
        loom(source, "2", code="async def setup(ext): raise RuntimeError('the warp is torn')")
        page = near(app)
        await page.act("workshop.update", id="loom")
        await page.until("the warp is torn.*Go back to 1")
        await free(app, page)
        await page.act("workshop.rollback", id="loom")
        await free(app, page)
        assert app.kernel.records["loom"].is_(Status.RUNNING)


async def test_an_extension_of_another_program_is_told_for_what_it_is(tmp_path: Path):
    tts = tmp_path / "data" / "extensions" / "silero_tts"
    tts.mkdir(parents=True)
    (tts / "script.py").write_text("def output_modifier(text): return text")
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        for source in (tts, tts.parent, zipped(tts, tmp_path / "tts.zip")):
            with pytest.raises(
                Refused, match="an extension of text-generation-webui, which cannot"
            ):
                await command_line.install(app.kernel, [str(source)])
        page = await app.open("/settings/workshop")
        await page.until("<b>silero_tts</b> is an extension of text-generation-webui")
        loom(tts)
        page = await app.open("/settings/workshop")
        assert "text-generation-webui" not in await page.until("Installed</h2>.*</section>")


async def test_what_cannot_run_here_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tts := tmp_path / "extensions" / "silero_tts").mkdir(parents=True)
    (tts / "script.py").write_text("")
    async with running("workshop", "settings", data=tmp_path) as app:
        await app.until(lambda: f"{tts} is an extension of text-generation-webui" in caplog.text)


async def test_an_archive_is_reviewed_and_agreed_to_in_the_page(tmp_path: Path):
    archive = zipped(loom(tmp_path / "src" / "loom", more='permissions = ["x:<b>"]'),
                     tmp_path / "loom.zip")  # fmt: skip
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        app.kernel.only = None
        page = near(app)
        await app.web.snapshot(page.client)
        await page.until("Drop an archive here")
        assert await post(app, "/ext/workshop/archive", archive, near=True) == 204
        review = await page.until("workshop-review.*Agree and install")
        assert "x:&lt;b&gt;" in review
        assert not (tmp_path / "src" / "imported").exists()
        sha256 = trees.digest(tmp_path / "src" / "loom")
        assert sha256 in review
        await page.act("workshop.install", consent="0" * 64)
        await page.until("not what is shown now")
        await page.act("workshop.install", consent=sha256)
        await free(app, page)
        assert app.kernel.records["loom"].is_(Status.RUNNING)
        page.html = ""
        assert await post(app, "/ext/workshop/archive", archive, near=True) == 204
        await page.until("These very files are installed already")
        await page.act("workshop.dismiss")
        await page.until("Drop an archive here")
        kept = tmp_path / "data" / "state" / "workshop" / "arrived" / "loom.zip"
        for source in ("loom.zip", str(kept)):  # as it is noted now, and as it once was
            pointer = tmp_path / "data" / "installed" / "loom.json"
            noted = json.loads(pointer.read_text())
            noted["now"]["source"] = source
            pointer.write_text(json.dumps(noted))
            page.html = ""
            await page.act("workshop.update", id="loom")
            await page.until("It came as the archive loom.zip. Drop a newer one here")
            await free(app, page)
            await page.connect()
            await page.until(r", from loom\.zip<")
        await page.act("workshop.remove", id="loom")
        await page.until("Loom is removed. Its settings and data stay")
        await free(app, page)


async def post(app: App, path: str, archive: Path, near: bool) -> int:
    """Send a file as a form would."""
    body = b'--x\r\ncontent-disposition: form-data; name="archive"; filename="%b"\r\n\r\n'
    body = body % archive.name.encode() + archive.read_bytes() + b"\r\n--x--\r\n"  # noqa: ASYNC240
    sent: list[dict[str, object]] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")], "spindle.near": near,
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    assert app.web.access(scope) == "admin"
    await app.web(scope, receive, send)  # type: ignore[arg-type]
    return int(str(sent[0]["status"]))


@pytest.mark.parametrize(
    ("flags", "near", "allowed"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"kernel": {"listen": "0.0.0.0"}}, True, False),
        (
            {"kernel": {"listen": "0.0.0.0"}, "workshop": {"allow-remote-install": True}},
            False,
            True,
        ),
    ],
)
async def test_a15_only_this_machine_may_install_unless_a_flag_says_otherwise(
    tmp_path: Path, flags: dict[str, dict[str, object]], near: bool, allowed: bool
):
    archive = zipped(loom(tmp_path / "src" / "loom"), tmp_path / "loom.zip")
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        app.kernel.only = None
        await bring(app, loom(tmp_path / "src" / "loom"))
        app.kernel.flags |= flags
        page = app.page("/settings/workshop")
        page.client.near = near
        await app.web.snapshot(page.client)
        await page.until("Drop an archive here" if allowed else "python server.py install")
        assert (await post(app, "/ext/workshop/archive", archive, near) == 204) == allowed
        await free(app, page)
        for action, values in {
            "fetch": {"address": "https://127.0.0.1:1/x.git@" + "0" * 40},
            "install": {"consent": "x"},
            "update": {"id": "loom"},
            "rollback": {"id": "loom"},
            "remove": {"id": "loom"},
        }.items():
            page.html = ""
            await page.act(f"workshop.{action}", **values)
            if not allowed:
                await page.until("python server.py install")
            await free(app, page)
        assert ("loom" in app.kernel.records) != allowed


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('id = "settings"', "There is an extension settings already"),
        ('id = "loom"\npaths = ["/settings"]', "which Settings serves"),
        ('id = "loom"\npaths = ["/settings/appearance"]', "which Settings serves"),
        ('id = "loom"\npaths = ["/old/models"]', "which Old API serves"),
        ('id = "loom"\npaths = ["/login"]', "server's own"),
        ('id = "loom"\npaths = ["/ws"]', "server's own"),
        ('id = "loom"\npaths = ["/static"]', "server's own"),
        ('id = "loom"\npaths = ["/ext/settings"]', "server's own"),
        ('id = "loom"\ncommands = [{name = "install", help = "x", code = "a.py:b"}]', "is taken"),
        ('id = "loom"\ncommands = [{name = "serve", help = "x", code = "a.py:b"}]', "is taken"),
    ],
)
async def test_f55_f52_what_is_taken_is_refused_at_the_door(tmp_path: Path, toml: str, words: str):
    old = tmp_path / "more" / "old_api"
    old.mkdir(parents=True)
    common = '\nname = "Old API"\nversion = "1"\nsummary = "x."\napi = 1\n'
    (old / "extension.toml").write_text(f'id = "old_api"{common}paths = ["/old"]\nenabled = false')
    folder = tmp_path / "src" / "loom"
    folder.mkdir(parents=True)
    id, _, more = toml.partition("\n")
    (folder / "extension.toml").write_text(id + common.replace("Old API", "Loom") + more)
    async with running("workshop", "settings", folders=[tmp_path / "more"]) as app:
        with pytest.raises(Refused, match=words):
            await command_line.install(app.kernel, [str(folder)])
        assert "loom" not in app.kernel.records
        assert app.kernel.records["settings"].folder == ROOT / "extensions" / "settings"


@pytest.mark.parametrize(
    ("chosen", "builds"), [(None, "cpu_only"), ("cpu", "cpu_only"), ("fast", "fast"), ("", "")]
)
async def test_an_update_builds_what_its_new_manifest_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, builds: str
):
    """Whatever was chosen for the version before, or is left of one that was removed."""
    built: list[str] = []

    async def prepare(manifest: Manifest, variant: str, *_: object) -> None:
        built.append(variant)

    monkeypatch.setattr("kernel.workers.has_nvidia", lambda: False)
    monkeypatch.setattr("sys.platform", "linux")
    engine = '[worker]\nenvironment = "loom"\n[worker.variants.{}]\nwithout = "nvidia"\n'
    old = loom(tmp_path / "old" / "loom", more=engine.format("cpu"))
    more = engine.format("cpu_only") + "[worker.variants.fast]"
    new = loom(tmp_path / "new" / "loom", "2", more=more)
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        monkeypatch.setattr(app.kernel.workers, "prepare", prepare)
        for at_first in (True, False):
            if chosen is not None:
                await app.kernel.changes.configure("loom", {"variant": chosen})
            if at_first:
                await bring(app, old)
        await bring(app, new)
        assert built[-1] == builds


@pytest.mark.parametrize("other", ["", "shares them", "cannot be read"])
async def test_the_libraries_of_its_engine_alone_can_go_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    other: str,
):
    async def prepare(kernel: Kernel, manifest: Manifest, *_: object) -> None:
        for name in ("loom", "loom-fast", "another"):
            (kernel.workers.root / name).mkdir(parents=True, exist_ok=True)
            (kernel.workers.root / f"{name}.lock").touch()

    monkeypatch.setattr(installer, "prepare", prepare)
    engine = '[worker]\nenvironment = "loom"\nsize = "3 GB"\n[worker.variants.fast]'
    source = loom(tmp_path / "src" / "loom", more=engine)
    more = {"": "", "shares them": engine, "cannot be read": "[worker"}[other]
    manifest = loom(tmp_path / "more" / "shuttle", more=more) / "extension.toml"
    manifest.write_text(manifest.read_text("utf-8").replace('"loom"', '"shuttle"', 1))
    folders = [tmp_path / "more"]
    async with running("workshop", "settings", data=tmp_path / "data", folders=folders) as app:
        await bring(app, source)
        root = app.kernel.workers.root
        page = near(app)
        await app.web.snapshot(page.client)
        await page.until("Remove Loom")
        assert ("libraries (3 GB)" in page.html) is not bool(other)
        await command_line.remove(app.kernel, "loom")
        assert ("So do the libraries of its engine" in capsys.readouterr().out) is not bool(other)
        assert (root / "loom").is_dir()
        await bring(app, source)
        await page.act("workshop.remove", id="loom", libraries=True)
        await free(app, page)
        left = {each.name for each in root.iterdir() if each.is_dir()}
        assert left == ({"loom", "loom-fast", "another"} if other else {"another"})


async def test_the_packages_of_an_engine_are_compared_with_the_lock_of_its_environment(
    tmp_path: Path,
):
    worker = (
        '[worker]\nenvironment = "torch"\n'
        'python = ["{}", "transformers==0.1", "yarn==1", "Safe_Tensors==9"]\n'
    )
    lock = (ROOT / "extensions" / "transformers" / "requirements-torch.lock").read_text()
    torch = next(line for line in lock.splitlines() if line.startswith("torch=="))
    source = loom(tmp_path / "src" / "loom", more=worker.format(torch))
    (source / "requirements-torch.lock").write_text("torch==0\ntransformers==0.1\n")  # not heeded
    async with running("workshop", data=tmp_path / "data") as app:
        shown = Installer(app.kernel).fetch(str(source), lambda f, n: None, lambda: False)
        states = {need.requirement: need.state for need in shown.needs}
        assert states == {
            torch: "there", "transformers==0.1": "other",
            "yarn==1": "new", "Safe_Tensors==9": "new",
        }  # fmt: skip
        said = command_line.in_words(shown)
        assert "yarn==1: new in torch" in said
        assert "transformers==0.1: does not fit" in said


def test_c30_a_name_cannot_repaint_the_terminal(tmp_path: Path):
    shown = Review("loom", "Lo\x1b[2Kom", "1", "s\r\n\x07", "", "x", "0", 1, ("\x1b]52;c;x\x07",),
                   grows=("it may \x1b[1A",))  # fmt: skip
    said = command_line.in_words(shown)
    assert not [c for c in said if not c.isprintable() and c != "\n"]


KILLS = """
import os, shutil, signal, sys
from pathlib import Path
from extensions.workshop import trees
from extensions.workshop.shelf import Shelf
from kernel.discovery import Discovery

root, what = Path(sys.argv[1]), sys.argv[2]

def run(shelf, work):
    if what == "update":
        staged = work / "staged"
        shelf.put("loom", staged, "2", "src", [], agreed=trees.digest(staged / "loom"))
    elif what == "rollback":
        shelf.back("loom")
    else:
        shelf.remove("loom")

def child(work, k):
    count = 0
    def hook(event, args):
        nonlocal count
        if event.startswith(("open", "os.", "shutil.", "tempfile.")) and str(work) in str(args):
            count += 1
            if count == k:
                os.kill(os.getpid(), signal.SIGKILL)
    shelf = Shelf(work / "installed")
    sys.addaudithook(hook)
    run(shelf, work)
    os._exit(0)

hashes = {trees.digest(root / "base" / "staged" / "loom")}
shelf = Shelf(root / "base" / "installed")
now = shelf.get("loom")
hashes |= {version.sha256 for version in (now.now, now.before) if version}
k = 0
while True:
    k += 1
    work = root / f"{k}"
    shutil.copytree(root / "base", work)
    pid = os.fork()
    if not pid:
        child(work, k)
    status = os.waitpid(pid, 0)[1]
    found = dict(Discovery([], work / "installed").folders())
    shelf = Shelf(work / "installed")
    if found or what != "remove":
        assert trees.digest(found["loom"]) in hashes, k
        assert not shelf.touched("loom"), k
        again = shutil.copytree(root / "base" / "staged", work / "again")
        shelf.put("loom", again, "2", "src", [], agreed=trees.digest(again / "loom"))
        assert dict(Discovery([], work / "installed").folders())["loom"], k
    shutil.rmtree(work)
    if status == 0:
        break
    assert os.WIFSIGNALED(status), (k, status)
print(k - 1)
"""


@pytest.mark.parametrize("what", ["update", "rollback", "remove"])
@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_e8_a_kill_at_each_step_leaves_the_old_version_or_the_new_one(tmp_path: Path, what: str):
    shelf = Shelf(tmp_path / "base" / "installed")
    for version in ("0", "1") if what != "update" else ("1",):
        staged = tmp_path / "base" / "first"
        loom(staged / "loom", version)
        shelf.put("loom", staged, version, "src", [], agreed=trees.digest(staged / "loom"))
    loom(tmp_path / "base" / "staged" / "loom", "2")
    said = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path), what],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert int(said.stdout) >= 10, "that many steps were killed"


async def test_f58_one_that_is_off_has_no_code_no_route_no_asset_and_no_task(tmp_path: Path):
    more = 'paths = ["/weave"]\nenabled = false\n[[commands]]\nname = "weave"\nhelp = "x"\n'
    source = loom(tmp_path / "src" / "loom", more=more + 'code = "loom.py:weave"\n')
    (source / "static").mkdir()
    (source / "static" / "loom.css").write_text("body {}")
    async with running("workshop", "settings", data=tmp_path / "data") as app:
        app.kernel.only = None
        before = set(asyncio.all_tasks())
        await bring(app, source)
        assert app.kernel.records["loom"].is_(Status.OFF)
        assert not (tmp_path / "src" / "imported").exists()
        assert not [name for name in sys.modules if "loom" in name]
        assert app.kernel.registry.owned_by("loom") == []
        for path in ("/weave", "/ext/loom", "/ext/loom/static/loom.css", "/loom"):
            assert await got(app, path) == 404
        assert not [t for t in asyncio.all_tasks() - before if "loom" in t.get_name()]


async def got(app: App, path: str) -> int:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app.web(scope, receive, send)  # type: ignore[arg-type]
    return int(str(sent[0]["status"]))


SPY = """
from kernel.api import Secret, Struct
class Settings(Struct, frozen=True):
    word: Secret = Secret()
async def setup(ext):
    ext.emit(("spied", str(ext.settings), {look}))
"""


async def test_f57_the_handle_gives_no_way_to_anothers_secrets(tmp_path: Path):
    """What the public surface offers; code in the same process could open the file itself."""
    looks: list[Callable[[str], str]] = [
        lambda id: "ext.admin",
        lambda id: f"ext.flag({id!r})",
        lambda id: "ext.flag('password')",
    ]
    for number, look in enumerate(looks):
        folder = tmp_path / f"{number}" / "loom"
        loom(folder, code=SPY.format(look=look("settings")))
        async with running(folders=[folder.parent]) as app:
            app.kernel.flags["kernel"] = {"model": "", "loader": "", "listen": ""}
            queue, dispose = app.kernel.bus.open(tuple)
            if await app.kernel.start("loom"):
                assert (await queue.get())[2] is None
            else:
                assert "kernel:admin" in app.kernel.records["loom"].reason
            dispose()
