"""B16 to B19, B22 and B23: names that reach a path, and files that must not be served."""
# ruff: noqa: E501, a name a line would be long

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from kernel.acting import ACTIONS
from kernel.names import UnsafeName, safe_path
from kernel.testing import running
from tests.boundary.conftest import BUILT_IN
from tests.boundary.served import Served, served
from tests.test_names import HOSTILE

SECRET = "the secret of a file outside"
MORE = ("..%2f..%2f", "....//....//", "..;/", "%c0%ae%c0%ae/", "..\\..\\", "/", "//", "./../", "~/")
"""Ways up that addresses know beside those of names."""
PATHLIKE = (
    "file",
    "conversation",
    "message",
    "id",
    "before",
    "field",
    "loader",
    "address",
    "source",
    "token",
)
"""Fields of actions that name something."""
WORDS = {("prompts.save", "source")}
"""Fields of these names that hold something else."""


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose folders hold what a user dropped there, and links that lead out."""
    folder = tmp_path_factory.mktemp("holding")
    outside, models = folder / "outside", folder / "models"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    (folder / "data-secret").mkdir()
    (folder / "data-secret" / "f").write_text(SECRET)
    models.mkdir()
    for name in ("page.html", "picture.svg", "feed.xml", "script.js", "x.xhtml", "x.mht"):
        (models / name).write_text(f"<svg><script>{SECRET}</script></svg>")
    with served(folder, "--model-dir", str(models)) as server:
        own = server.data / "extensions" / "canary_page" / "static"
        own.mkdir()
        (own / "canary_page.css").write_text("p {}")
        (own / "away").symlink_to(outside)
        (own / "secret.css").symlink_to(outside / "secret.txt")
        (own.with_name("static-secret")).mkdir()
        (own.with_name("static-secret") / "f.css").write_text(SECRET)
        yield server


def mine(server: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"}


def test_b16_addresses_of_files_lead_nowhere_else(holding: Served):
    names = [name for name in HOSTILE if name not in ("", ".", "..")]
    ups = [up * 4 + "etc/passwd" for up in MORE] + ["/etc/passwd", "../__init__.py", "../../../x"]
    said = [quote(name.encode("utf-8", "surrogatepass"), safe="") for name in (*names, *ups)]
    for root in ("/static/", "/ext/canary_page/static/", "/ext/", "/ext/chat/static/"):
        for name in [*said, *(up for up in ups if " " not in up)]:
            answer = holding.ask("GET", root + name, mine(holding))
            assert answer.status in (400, 404), (root, name, answer.status)
            assert "root:" not in answer.text
            assert "async def setup" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/ext/canary_page/static/away/secret.txt", "/ext/canary_page/static/secret.css",
        "/ext/canary_page/static/../static-secret/f.css", "/ext/canary_page/static-secret/f.css",
        "/ext/canary_page/static/%2e%2e/static-secret/f.css",
        "/static/../data-secret/f", "/static/..%2f..%2fdata-secret/f",
    ],
)  # fmt: skip
def test_b17_b18_siblings_and_links_are_out_of_reach(holding: Served, path: str):
    answer = holding.ask("GET", path, mine(holding))
    assert answer.status == 404
    assert SECRET not in answer.text
    own = holding.ask("GET", "/ext/canary_page/static/canary_page.css", mine(holding))
    assert own.status == 200, "what lies there is served"


HIDDEN = (
    "settings.yaml", "settings.default.yaml", "data/settings.yaml", "data/chats.sqlite3",
    "data/secrets/api_key", "data/secrets/session_key", "secrets/api_key", "chats.sqlite3", ".git/config",
    ".env", ".lock", "data/.lock", "CMD_FLAGS.txt", "kernel/security.py", "pyproject.toml", "server.py",
    "models/page.html", "models/picture.svg", "models/feed.xml", "models/script.js", "models/x.xhtml",
    "models/x.mht", "extension.toml", "__init__.py", "templates/panel.html",
)  # fmt: skip


def test_b22_b23_what_is_kept_and_what_was_dropped_is_not_served(holding: Served):
    keys = [f.read_text() for f in (holding.data / "secrets").iterdir()]
    roots = ("/", "/static/", "/static/../", "/data/", "/ext/canary_page/", "/ext/chat/", "/models/",
             "/ext/canary_page/static/", "/ext/canary_page/static/../", "/user_data/", "/file=", "/view?filename=")  # fmt: skip
    for root in roots:
        for name in HIDDEN:
            answer = holding.ask("GET", root + name, mine(holding))
            tab = (root + name).startswith("/models/")  # The page of what lies there.
            assert answer.status == 404 or tab or root.endswith("="), (root, name)
            assert answer.status != 200 or "<title>" in answer.text, "the page itself"
            for secret in (SECRET, *keys, *(() if tab else ("api_key",))):  # It says where it is.
                assert secret not in answer.text, (root, name)
            if "html" in answer.header("content-type"):
                assert "script-src 'self'" in answer.header("content-security-policy")
            assert answer.header("x-content-type-options") == "nosniff"


def test_b23_a_script_of_an_extension_is_never_a_page(holding: Served):
    """An extension's own .html or .svg is shown, if at all, where no script of it runs."""
    folder = holding.data / "extensions" / "canary_page" / "static"
    for name in ("x.html", "x.svg", "x.xml", "x.js"):
        (folder / name).write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='pwned()'/>")
        answer = holding.ask("GET", f"/ext/canary_page/static/{name}", mine(holding))
        assert answer.status == 200
        policy = answer.header("content-security-policy")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.header("x-content-type-options") == "nosniff"


async def test_b16_every_name_in_every_action(tmp_path: Path, pytestconfig: pytest.Config):
    """A name that an action takes reaches no file: nothing is made, read or removed outside.

    Every name for every field with --long; else each field has a tenth of them, the next the next.
    """
    names = (*HOSTILE, "../../../../etc/passwd", str(tmp_path / "x"))
    shares = 1 if pytestconfig.getoption("--long") else 10
    python = Path(sys.executable)  # No environment is made, and HF_ENDPOINT leads nowhere.
    async with running(*BUILT_IN, python=python) as app:
        page = app.page("/settings")
        kinds = {e.value.name: e.value.kind for e in app.kernel.registry.entries(ACTIONS)}
        before = snapshot(app.kernel.data.parent)
        tried = fields = 0
        for name, kind in kinds.items():
            infos = msgspec.structs.fields(kind)
            for field in sorted({info.name for info in infos} & {*PATHLIKE}):
                if (name, field) in WORDS:
                    continue
                needed = {info.name: "0" for info in infos if info.required}
                fields += 1
                for hostile in names[fields % shares :: shares]:
                    await page.act(name, **needed | {field: as_sent(hostile)})
                    tried += 1
        assert tried > 1500 / shares
        after = snapshot(app.kernel.data.parent)
        new = {f for f in after - before if not re.search("chats|workshop|inspector.sqlite3", f)}
        assert not new
        assert not snapshot(tmp_path)


def as_sent(text: str) -> str:
    """JSON carries no halves of characters."""
    return text.encode("utf-8", "replace").decode()


def snapshot(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "tries", [300, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_b19_a_file_that_is_swapped_between_check_and_use(tmp_path: Path, tries: int):
    """A link that comes and goes: the check refuses it or gives a path inside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "f").write_text(SECRET)
    swapped, end = root / "x", threading.Event()

    def swap() -> None:
        while not end.is_set():
            draft = root / "draft"
            draft.symlink_to(outside)
            os.replace(draft, swapped)
            time.sleep(0.0002)
            swapped.unlink()
            swapped.mkdir()
            time.sleep(0.0002)
            swapped.rmdir()

    racer = threading.Thread(target=swap)
    racer.start()
    refused, tried, until = 0, 0, time.monotonic() + 60
    try:
        while tried < tries or not refused:  # Only what was swapped in time is refused.
            assert time.monotonic() < until, f"{refused} of {tried} were refused"
            tried += 1
            try:
                path = safe_path(root, "x", "f")
            except UnsafeName:
                refused += 1
                continue
            assert path == root / "x" / "f"
    finally:
        end.set()
        racer.join()


@pytest.mark.parametrize(
    "tries", [300, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_b19_a_served_file_that_is_swapped(holding: Served, tries: int):
    """The same race against the server: what lies outside is never what it answers."""
    folder = holding.data / "extensions" / "canary_page" / "static"
    outside, good = folder.parents[3] / "outside" / "secret.txt", folder / "good.txt"
    good.write_text("good")
    end = threading.Event()

    def swap() -> None:
        turn = 0
        while not end.is_set():
            draft = folder / "draft"
            draft.symlink_to((outside, good)[turn % 2])
            os.replace(draft, folder / "raced.txt")
            turn += 1

    racer = threading.Thread(target=swap)
    racer.start()
    statuses: dict[int, int] = {}
    try:
        for _ in range(tries):
            answer = holding.ask("GET", "/ext/canary_page/static/raced.txt", mine(holding))
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            assert SECRET not in answer.text
    finally:
        end.set()
        racer.join()
    assert statuses.get(404) or statuses.get(200)
