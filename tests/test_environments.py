"""Environments: whole or not there, one builder at a time, and a sentence when it fails."""

import asyncio
import contextlib
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, TypeVar

import pip
import psutil
import pytest

from kernel import environments
from kernel.environments import Environment, EnvironmentFailed, build, lock_for, ready, remove
from tests.processes import alive
from tests.wheels import wheelhouse

__all__ = ["wheelhouse"]

Found = TypeVar("Found")
TINY = Environment("engine", ("tiny",))
QUICK = """
import pathlib, sys, venv
folder, pip = map(pathlib.Path, sys.argv[1:])
venv.create(folder, symlinks=True)
site = next(folder.glob("[lL]ib/**/site-packages"))
for package in pip.parent.glob("pip*"):
    (site / package.name).symlink_to(package)
"""


def quiet(_fraction: float, _note: str) -> None:
    """Take no notice."""


def never() -> bool:
    return False


def python(folder: Path, code: str) -> str:
    command = [environments.python_of(folder), "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, wheelhouse: Path) -> None:
    """Borrow the tests' pip in place of ensurepip, which takes three seconds each time."""
    home = str(Path(pip.__file__).parent)

    def venv(folder: Path) -> list[str]:
        return [sys.executable, "-c", QUICK, str(folder), home]

    monkeypatch.setattr(environments, "_venv", venv)


@pytest.fixture
def pip_is(monkeypatch: pytest.MonkeyPatch, quick: None) -> Callable[[str], None]:
    """Put a few lines of Python in pip's place."""

    def replace(code: str) -> None:
        command = [sys.executable, "-c", code]
        monkeypatch.setattr(environments, "_pip", lambda *_: command)

    return replace


def test_build_for_real(tmp_path: Path, wheelhouse: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("tiny==1.0\n")
    env, notes = Environment("engine", (), lock), list[str]()
    assert not ready(env, tmp_path)
    found = build(env, tmp_path, lambda _, note: notes.append(note), never)
    assert found == environments.python_of(tmp_path / "engine")
    assert python(tmp_path / "engine", "import tiny, msgspec, jinja2; print(tiny.version)") == "1.0"
    assert ready(env, tmp_path)
    assert notes[:2] == ["Making the environment"] * 2
    assert "Asking the package index" in notes


@pytest.mark.usefixtures("quick")
def test_a_ready_environment_is_used_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(TINY, tmp_path, quiet, never)
    monkeypatch.setattr(subprocess, "Popen", None)
    build(TINY, tmp_path, quiet, never)


@pytest.mark.usefixtures("quick")
def test_the_lock_chooses_the_version(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("tiny==1.0\nother==1.0\n")
    build(Environment("engine", ("tiny",), lock), tmp_path, quiet, never)
    assert python(tmp_path / "engine", "import tiny; print(tiny.version)") == "1.0"
    assert not list((tmp_path / "engine").glob("**/other.py"))


@pytest.mark.usefixtures("quick")
def test_what_it_was_made_for_has_changed(tmp_path: Path) -> None:
    lock, env = tmp_path / "some.lock", Environment("engine", ("tiny",), tmp_path / "some.lock")
    lock.write_text("tiny==1.0\n")
    build(env, tmp_path, quiet, never)
    assert ready(env, tmp_path)
    assert not ready(Environment("engine", ("tiny",), lock, "https://example.org"), tmp_path)
    assert not ready(Environment("engine", ("tiny", "other"), lock), tmp_path)
    lock.write_text("tiny==2.0\n")
    assert not ready(env, tmp_path)
    build(env, tmp_path, quiet, never)
    assert python(tmp_path / "engine", "import tiny; print(tiny.version)") == "2.0"
    environments.python_of(tmp_path / "engine").unlink()
    assert not ready(env, tmp_path)


@pytest.mark.usefixtures("quick")
def test_of_two_versions_it_holds_the_one_that_came_last(tmp_path: Path) -> None:
    """As after an update of an extension was taken back."""
    old, new = (Environment("engine", (f"tiny=={n}.0", "other")) for n in (1, 2))
    for env, gone in ((old, new), (new, old), (old, new)):
        build(env, tmp_path, quiet, never)
        assert python(tmp_path / "engine", "import tiny; print(tiny.version)") == (
            env.requirements[0].removeprefix("tiny==")
        )
        assert ready(env, tmp_path)
        assert not ready(gone, tmp_path)
        assert ready(Environment("engine", ("other",)), tmp_path)


@pytest.mark.usefixtures("quick")
def test_a_moved_environment_is_made_again(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    build(TINY, old, quiet, never)
    old.rename(new)
    assert not ready(TINY, new)


@pytest.mark.usefixtures("quick")
def test_an_extension_adds_to_a_shared_environment(tmp_path: Path) -> None:
    build(TINY, tmp_path, quiet, never)
    marker = tmp_path / "engine" / "in use"
    marker.touch()
    build(Environment("engine", ("other",)), tmp_path, quiet, never)
    assert marker.exists()
    assert ready(TINY, tmp_path)
    assert ready(Environment("engine", ("tiny", "other")), tmp_path)


def test_failing_to_add_keeps_what_was_there(
    tmp_path: Path, pip_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_is("")
    build(TINY, tmp_path, quiet, never)
    pip_is("exit('ERROR: no such package')")
    with pytest.raises(EnvironmentFailed, match="no such package"):
        build(Environment("engine", ("nonsense",)), tmp_path, quiet, never)
    assert ready(TINY, tmp_path)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_update_that_fails_or_is_cancelled_keeps_what_worked(
    tmp_path: Path, pip_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = tmp_path / "before.lock", tmp_path / "after.lock"
    before.write_text("tiny==1.0\n")
    after.write_text("tiny==2.0\n")
    old, new = Environment("engine", ("tiny",), before), Environment("engine", ("tiny",), after)
    pip_is("")
    build(old, tmp_path, quiet, never)
    (tmp_path / "engine" / "what it holds").touch()
    pip_is("exit('ERROR: no such package')")
    with pytest.raises(EnvironmentFailed, match="no such package"):
        build(new, tmp_path, quiet, never)
    assert ready(old, tmp_path)
    said = (tmp_path / "engine" / "install.log").read_text()
    assert "no such package" in said, "where the sentence says"
    told: list[str] = []
    pip_is("import time; time.sleep(60)")
    with pytest.raises(EnvironmentFailed, match="cancelled"):
        build(new, tmp_path, lambda _, note: told.append(note), lambda: len(told) > 1)
    assert ready(old, tmp_path)
    assert (tmp_path / "engine" / "what it holds").exists()
    pip_is("")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(EnvironmentFailed, match="No space left"):
            build(new, tmp_path, quiet, never)
    assert ready(old, tmp_path)
    build(new, tmp_path, quiet, never)
    assert ready(new, tmp_path)
    assert not (tmp_path / "engine.before").exists()


def test_an_update_that_was_killed_gives_back_what_worked(
    tmp_path: Path, pip_is: Callable[[str], None]
) -> None:
    pip_is("")
    build(TINY, tmp_path, quiet, never)
    engine, before = tmp_path / "engine", tmp_path / "engine.before"
    engine.rename(before)
    engine.mkdir()
    (engine / "install.log").touch()
    pip_is("exit('ERROR: it need not be asked')")
    build(TINY, tmp_path, quiet, never)
    assert ready(TINY, tmp_path)
    assert not before.exists()
    before.mkdir()
    remove("engine", tmp_path)
    assert [*tmp_path.glob("engine*")] == [tmp_path / "engine.lock"]


def test_a_disk_on_which_nobody_could_say_that_it_is_full(
    tmp_path: Path, pip_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    rooms = {small: 1_000_000}

    def usage(place: Path) -> Any:
        return SimpleNamespace(free=rooms.get(place, 10**12))

    monkeypatch.setattr(environments.shutil, "disk_usage", usage)
    monkeypatch.setenv("TMPDIR", str(small))
    pip_is("exit(1)")
    with pytest.raises(EnvironmentFailed, match=f"The disk that holds {small} is full: free"):
        build(TINY, tmp_path, quiet, never)
    rooms = {tmp_path / "engine": 1_000_000}
    with pytest.raises(EnvironmentFailed, match=r"/engine is full: free some space"):
        build(TINY, tmp_path, quiet, never)


def test_a_stamp_that_is_no_text_is_none(tmp_path: Path, pip_is: Callable[[str], None]) -> None:
    pip_is("")
    build(TINY, tmp_path, quiet, never)
    (tmp_path / "engine" / "stamp").write_bytes(b"\xff\xfe")
    assert not ready(TINY, tmp_path)
    build(TINY, tmp_path, quiet, never)
    assert ready(TINY, tmp_path)


PIP = "import time; print('here'); time.sleep(60)"
KILLED = f"""
import sys
from pathlib import Path
from kernel import environments
root, quick, pip = sys.argv[1:]
environments._venv = lambda folder: [sys.executable, "-c", quick, str(folder), pip]
environments._pip = lambda *_: [sys.executable, "-c", {PIP!r}]
environments.build(
    environments.Environment("engine", ()), Path(root), lambda *_: None, lambda: False
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there pip cannot inherit the lock")
def test_a_killed_builder_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    home = str(Path(pip.__file__).parent)
    command = [sys.executable, "-c", KILLED, str(tmp_path), QUICK, home]
    log = tmp_path / "engine" / "install.log"
    with subprocess.Popen(command) as builder:
        installer = wait_for(lambda: pip_of(builder.pid))
        wait_for(log.exists)
        builder.kill()
    assert not ready(Environment("engine", ()), tmp_path)

    waited = Event()

    def waiting(_fraction: float, note: str) -> None:
        if "Waiting" in note:
            waited.set()

    with pytest.raises(EnvironmentFailed, match="cancelled"):  # pip goes on, and has the lock
        build(TINY, tmp_path, waiting, waited.is_set)
    os.killpg(installer.pid, signal.SIGKILL)
    remove("engine", tmp_path)
    assert not (tmp_path / "engine").exists()


def pip_of(builder: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(builder).children():
            if PIP in child.cmdline():  # A child that is just forked still has its parent's.
                return child
    return None


def wait_for(look: Callable[[], Found | None], seconds: float = 20) -> Found:
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


async def test_two_builders_make_it_once(tmp_path: Path, pip_is: Callable[[str], None]) -> None:
    runs = tmp_path / "runs"
    pip_is(f"import time; time.sleep(0.3); open({str(runs)!r}, 'a').write('x')")
    both = (asyncio.to_thread(build, TINY, tmp_path, quiet, never) for _ in range(2))
    assert len(set(await asyncio.gather(*both))) == 1
    assert runs.read_text() == "x"


def test_cancel_ends_pip_and_its_children(tmp_path: Path, pip_is: Callable[[str], None]) -> None:
    pid = tmp_path / "pid"
    pip_is(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(EnvironmentFailed, match="cancelled"):
        build(TINY, tmp_path, quiet, lambda: pid.exists() and bool(pid.read_text()))
    wait_for(lambda: not alive(int(pid.read_text())))
    assert not ready(TINY, tmp_path)


def test_progress_comes_from_the_log(tmp_path: Path, pip_is: Callable[[str], None]) -> None:
    heard = tmp_path / "heard"
    pip_is(  # It goes on when it was heard: the log is looked at now and then.
        "import os, time\n"
        "for line in ('Looking in indexes: x', 'Collecting tiny (from -r some.lock)',\n"
        "             '  Downloading tiny-1.0-py3-none-any.whl (12.3 MB)'):\n"
        "    print(line, flush=True)\n"
        f"    while line[0] != 'L' and line.split()[0] not in open({str(heard)!r}).read():\n"
        "        time.sleep(0.02)"
    )
    told = list[tuple[float, str]]()

    def hear(fraction: float, note: str) -> None:
        told.append((fraction, note))
        heard.write_text(" ".join(note for _, note in told))

    heard.touch()
    build(TINY, tmp_path, hear, never)
    notes = list(dict.fromkeys(note for _, note in told if note))
    assert notes[-2:] == ["Collecting tiny", "Downloading tiny-1.0 (12.3 MB)"]
    fractions = [fraction for fraction, _ in told][1:]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("WARNING: Retrying (Retry(total=4)) after NewConnectionError", "check the network"),
        ("OSError: [Errno 28] No space left on device", "free some space"),
        ("ERROR: first\nERROR: tiny needs a compiler", "tiny needs a compiler"),
        ("Traceback: something odd", "something odd"),
    ],
)
def test_why_pip_failed(
    tmp_path: Path, pip_is: Callable[[str], None], said: str, told: str
) -> None:
    pip_is(f"print({said!r}); exit(1)")
    with pytest.raises(EnvironmentFailed, match=told):
        build(TINY, tmp_path, quiet, never)
    assert not ready(TINY, tmp_path)


@pytest.mark.usefixtures("quick")
def test_a_package_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"There is no nonsense==1 for .*install\."):
        build(Environment("engine", ("nonsense==1",)), tmp_path, quiet, never)


def test_without_ensurepip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    with pytest.raises(EnvironmentFailed, match=f"sudo apt install {version}"):
        build(TINY, tmp_path, quiet, never)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailed, match=r"cannot be written: Not a directory\. Free"):
        build(TINY, tmp_path / "file" / "environments", quiet, never)


class NotFound(BaseHTTPRequestHandler):
    """An index that is there, though it lists nothing at its root."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_an_index_is_used_if_it_answers(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert environments._answers(f"http://127.0.0.1:{server.server_port}/simple")
        thread.join()
    command = environments._pip(Environment("engine", (), None, "https://x"), tmp_path, True)
    assert command[command.index("--extra-index-url") + 1] == "https://x"


@pytest.mark.usefixtures("quick")
def test_an_index_that_is_away_is_left_out_and_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        index, notes = f"http://127.0.0.1:{taken.getsockname()[1]}/simple", list[str]()
        env = Environment("engine", ("tiny",), None, index)
        build(env, tmp_path, lambda _, note: notes.append(note), never)
    assert notes[-1].endswith(f" (without {index}: no answer)")
    assert ready(env, tmp_path)


def test_remove(tmp_path: Path, pip_is: Callable[[str], None]) -> None:
    pip_is("")
    build(TINY, tmp_path, quiet, never)
    remove("engine", tmp_path)
    assert not ready(TINY, tmp_path)
    assert not (tmp_path / "engine").exists()
    remove("engine", tmp_path)


@pytest.mark.parametrize("name", ["wheels", "../state", "wheels/../../state", "", ".", ".."])
def test_what_is_no_environment_is_not_removed(tmp_path: Path, name: str) -> None:
    """The names come from manifests, which strangers write."""
    for folder in ("environments/wheels", "state"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "kept").touch()
    (tmp_path / "pyvenv.cfg").touch()
    with pytest.raises(EnvironmentFailed, match="is no environment, so it stays"):
        remove(name, tmp_path / "environments")
    assert len([*tmp_path.rglob("kept")]) == 2


def test_no_folder_of_a_users_own_is_made_an_environment(
    tmp_path: Path, pip_is: Callable[[str], None]
) -> None:
    pip_is("")
    photos = tmp_path / "engine"
    photos.mkdir()
    (photos / "pyvenv.cfg").touch()
    for _ in range(2):
        with pytest.raises(EnvironmentFailed, match="is not Spindle's, so it stays"):
            build(TINY, tmp_path, quiet, never)
    assert [*tmp_path.iterdir()] == [photos]
    (photos / "pyvenv.cfg").unlink()
    build(TINY, tmp_path, quiet, never)


def test_the_lock_of_a_shared_environment(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert lock_for("torch", [first, second]) is None
    (second / "requirements-torch.lock").touch()
    assert lock_for("torch", [second, first]) == second / "requirements-torch.lock"


def test_interpreters_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert environments.python_of(Path("x")) == Path("x/Scripts/python.exe")
