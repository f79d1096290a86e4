"""The two commands: what they set up, how fast, and what they say when they cannot."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.llama_cpp.building import PACKAGE
from kernel.environments import BASE, Environment, _pip, hold, python_of
from kernel.stamps import held
from tests import __main__ as runner
from tests.__main__ import COMPILED
from tests.wheels import wheelhouse
from tools.lock import declared

__all__ = ["wheelhouse"]

ROOT = Path(__file__).parent.parent
KERNEL = "import os, sys; print(sys.argv[1:], os.getcwd(), sys.prefix)"


def start(server: Path, *arguments: str, cwd: Path | None = None) -> str:
    """Run server.py as a user does, and return what it prints; it must succeed."""
    command = [sys.executable, server, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def refuse(before: str, **environment: str) -> str:
    """Run some code and then server.py in one process, and return why it gives up."""
    code = f"import runpy, sys, importlib.util\n{before}\n"
    code += f"runpy.run_path({str(ROOT / 'server.py')!r}, run_name='__main__')"
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Path:
    """Copy what a first start needs, with one tiny dependency and a kernel that tells about it."""
    folder = tmp_path_factory.mktemp("a checkout")
    shutil.copy(ROOT / "server.py", folder)
    shutil.copytree(ROOT / "kernel", folder / "kernel")
    (folder / "kernel" / "__main__.py").write_text(KERNEL)
    (folder / "requirements.lock").write_text("tiny==1.0\n")
    said = start(folder / "server.py", "--setup-only")
    assert said.startswith(f"Setting up Spindle in {folder}")
    assert said.endswith("Spindle is set up. Start it with: python server.py\n")
    return folder


@pytest.mark.parametrize(("switch", "writes"), [("-B", False), ("-q", True)])
def test_the_set_up_compiles_the_sources(
    checkout: Path, tmp_path: Path, switch: str, writes: bool
) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    code = "from kernel.first_start import compiling\nwith compiling(): pass"
    command = [sys.executable, switch, "-c", code]
    subprocess.run(command, cwd=checkout, env=env, check=True)
    names = {file.name.partition(".")[0] for file in tmp_path.rglob("kernel/*.pyc")}
    assert ("reply" in names) == writes  # the set-up itself imports little of the kernel


def test_the_second_start_goes_straight_to_the_kernel(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()  # a folder of the user's that happens to have that name
    (tmp_path / "kernel" / "__main__.py").write_text("exit('the wrong kernel')")
    said = start(checkout / "server.py", "--port", "1", cwd=tmp_path)
    assert said == f"['serve', '--port', '1'] {tmp_path} {checkout / '.venv'}\n"


def test_a_command_is_handed_on(checkout: Path, tmp_path: Path) -> None:
    said = start(checkout / "server.py", "install", "x", "--verbose", cwd=tmp_path)
    assert said.startswith("['install', 'x', '--verbose']")


def test_a_python_without_what_the_kernel_needs_names_the_command() -> None:
    command = [sys.executable, "-S", "-m", "kernel", "check", "tts"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("This Python has no msgspec, ")
    assert ran.stderr.endswith("run: python server.py check tts\n")
    assert ran.stderr.count("\n") == 1


def test_an_environment_that_lost_a_package_is_made_anew_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / ".venv"
    venv.create(folder, symlinks=True)
    (folder / "stamp").touch()
    command = [python_of(folder), "-P", "-m", "kernel", "serve"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{folder} is spoilt (No module named 'msgspec'). Start again")
    assert not (folder / "stamp").exists()


def test_started_with_the_python_inside(checkout: Path) -> None:
    command = [python_of(checkout / ".venv"), checkout / "server.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("['serve']")


def test_a_current_environment_costs_little(checkout: Path) -> None:
    """Import nothing at all on the way to the kernel but its stamps."""
    server = str(checkout / "server.py")
    code = f"import runpy, sys; sys.argv = [{server!r}, '--setup-only']\n"
    code += (
        f"runpy.run_path({str(checkout / 'kernel' / '__init__.py')!r})  # imports a few things\n"
    )
    code += "before = {*sys.modules}\n"
    code += f"runpy.run_path({server!r}, run_name='__main__'); print(*{{*sys.modules}} - before)"
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert sorted(ran.stdout.splitlines()[-1].split()) == ["kernel", "kernel.stamps"]


def test_a_broken_environment_is_not_ready(checkout: Path) -> None:
    folder, lock = str(checkout / ".venv"), str(checkout / "requirements.lock")
    assert held(folder, lock)
    python_of(checkout / ".venv").rename(checkout / "away")
    assert not held(folder, lock)
    (checkout / "away").rename(python_of(checkout / ".venv"))


RUNS = """
import sys
from pathlib import Path
from kernel import __main__ as kernel
from kernel.environments import in_use

async def serve(*_):
    print(in_use(Path(sys.prefix)))

kernel.serve, sys.prefix, sys.argv = serve, sys.argv[1], ["kernel", "serve"]
kernel.main()
print(in_use(Path(sys.prefix)))
"""


def test_who_runs_holds_its_environment(tmp_path: Path) -> None:
    folder = tmp_path / ".venv"
    folder.mkdir()
    command, env = (
        [sys.executable, "-c", RUNS, str(folder)],
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    for said in ("False\nFalse\n", "True\nFalse\n"):
        ran = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
        assert ran.stdout == said
        (folder / "stamp").touch()  # Now it is one of ours.


def test_an_environment_is_made_anew_but_under_no_running_server(checkout: Path) -> None:
    """As after `git pull`: its lock is another one now."""
    lock = checkout / "requirements.lock"
    first, second = (hold(checkout / ".venv") for _ in range(2))
    assert first
    assert second
    first.close()  # Of two that run in it one is left.
    with second:
        with lock.open("a") as file:
            file.write("\n")
        command = [sys.executable, checkout / "server.py"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 1
        assert ran.stderr.endswith("has to be made anew. Stop it, then start again.\n")
    assert "Setting up Spindle" in start(checkout / "server.py")
    assert "Setting up Spindle" not in start(checkout / "server.py")


def test_an_empty_name_of_a_folder_is_none(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an unset variable of a compose file is: it would be the folder that one stands in."""
    monkeypatch.setenv("SPINDLE_VENV", "")
    assert str(checkout / ".venv") in start(checkout / "server.py", cwd=tmp_path)


def test_an_old_python_is_told_so() -> None:
    said = refuse("sys.version_info = (3, 8)")
    assert "needs Python 3.11 or newer; this is 3.8" in said
    assert "sudo apt install python3.11" in said


def test_without_ensurepip_it_names_the_command(tmp_path: Path) -> None:
    said = refuse("importlib.util.find_spec = lambda _: None", SPINDLE_VENV=str(tmp_path / ".venv"))
    assert re.search(r"could not be set up\..*\n +sudo apt install python3\.\d+-venv\n", said)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refuse("", SPINDLE_VENV=str(tmp_path / "file" / ".venv"))
    assert f"{tmp_path / 'file' / '.venv'} cannot be written" in said
    assert "then try again" in said


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def plain(requirement: str) -> str:
    return re.sub(r"\[.*?\]", "", requirement).lower()


def test_the_locks_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    server, tests = pins("requirements.lock"), pins("requirements-tests.lock")
    assert server.items() <= tests.items()
    assert dict(plain(line).split("==") for line in BASE).items() <= server.items()
    for line in project["project"]["dependencies"]:
        name, version = plain(line).split("==")
        assert server[name] == version
    for line in project["dependency-groups"]["tests"]:
        name, version = plain(line).split("==")
        assert tests[name] == version


def test_the_server_stays_small() -> None:
    heavy = {"torch", "numpy", "transformers", "huggingface-hub", "pydantic", "orjson"}
    assert not heavy & pins("requirements.lock").keys()


def test_every_dependency_is_accounted_for() -> None:
    table = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    for name, version in pins("requirements-tests.lock").items():
        assert re.search(rf"^\| {re.escape(name)} \| {re.escape(version)} \| \S", table, re.M), name


def test_these_tests_run_with_what_is_locked() -> None:
    for name, version in pins("requirements-tests.lock").items():
        assert importlib.metadata.version(name) == version


@pytest.mark.skipif(sys.platform == "win32", reason="CI runs on Linux")
def test_ci_runs_what_anybody_runs() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text().endswith("exec python3 -m tests\n")


def test_extensions_share_an_environment(tmp_path: Path) -> None:
    worker = '[worker]\nenvironment = "torch"\npython = ["torch==2.13.0", "{}"]\n'
    for id, more in (("chatting", "transformers==5"), ("training", "peft==1"), ("typing", "")):
        (tmp_path / id).mkdir()
        (tmp_path / id / "extension.toml").write_text(worker.format(more) if more else "")
    (tmp_path / "training" / "requirements-torch.lock").touch()
    env = declared(tmp_path)["torch"]
    assert env.requirements == ("torch==2.13.0", "transformers==5", "peft==1")
    assert env.lock == tmp_path / "training" / "requirements-torch.lock"


def test_what_only_varies_the_build_is_no_environment_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "extension.toml").write_text(
        '[worker]\nenvironment = "fast"\npython = ["a==1"]\n'
        '[worker.variants.cpu]\nindex = "https://example.org"\n'
        '[worker.variants.native]\npython = ["b==2"]\n'
        '[worker.variants.native-cuda]\npython = ["b==2"]\n'
    )
    found = declared(tmp_path)
    assert {name: env.requirements for name, env in found.items()} == {
        "fast": ("a==1",),
        "fast-native": ("a==1", "b==2"),
    }


def test_every_lock_pins_what_its_environments_ask_for() -> None:
    for env in declared().values():
        assert env.lock, env.name
        pinned = {line.replace("_", "-") for line in env.lock.read_text("utf-8").splitlines()}
        assert {plain(each).replace("_", "-") for each in env.requirements} <= pinned, env.name


def test_the_tests_compile_what_the_extension_builds() -> None:
    assert COMPILED == PACKAGE
    assert any(COMPILED in env.requirements for env in declared().values())


@pytest.mark.parametrize("built", [True, False])
def test_engines_without_a_compiler_are_prepared_as_far_as_that_goes(
    built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: dict[str, tuple[str, ...]] = {}
    problem = "" if built else "There is no C++ compiler."
    monkeypatch.setattr(runner, "compile_engine", lambda *_: problem)
    monkeypatch.setattr(runner, "prepare", lambda e, _: prepared.update({e.name: e.requirements}))
    assert runner.prepare_engines("python", Path("nowhere")) == problem
    assert ("xllamacpp-native" in prepared) == built
    assert any(COMPILED in needs for needs in prepared.values()) == built
    assert "xllamacpp" in prepared
    assert any(need.startswith("torch==") for need in prepared["torch"])


@pytest.mark.parametrize(
    ("seconds", "long", "said"),
    [
        (555.4, False, "It all took 9 min 15 s."),
        (600, False, "It all took 10 min 0 s."),
        (661, False, "It all took 11 min 1 s, more than the 10 it may take."),
        (661, True, "It all took 11 min 1 s."),
    ],
)
def test_the_last_line_says_how_long_the_tests_took(seconds: float, long: bool, said: str) -> None:
    assert runner.took(seconds, long=long) == said


@pytest.mark.parametrize("code", [1, -9])
def test_the_time_is_said_at_the_end_and_setting_up_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    now = [0.0]

    def spend(seconds: float, answer: Any) -> Any:
        now[0] += seconds
        return answer

    def run(*_: Any, **__: Any) -> Any:
        return spend(500, SimpleNamespace(returncode=code))

    aside = SimpleNamespace(chdir=lambda _: None, environ={})
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(runner, "os", aside)
    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(sys, "argv", ["tests"])
    monkeypatch.setattr(runner, "prepare", lambda *_: spend(1000, "python"))
    monkeypatch.setattr(runner, "prepare_engines", lambda *_: spend(1000, ""))
    monkeypatch.setattr(runner, "install", lambda *_: spend(50, True))
    monkeypatch.setattr(runner, "check", lambda *_: spend(10, (0, "passed")))
    monkeypatch.setattr(runner, "begin_types", lambda _: "pyright")
    monkeypatch.setattr(runner, "end_types", lambda _: spend(30, 0))
    assert runner.main() == 1
    assert capsys.readouterr().out.endswith("It all took 9 min 10 s.\n")


def test_a_compiled_wheel_is_found_by_pip(tmp_path: Path) -> None:
    env = Environment("engine", ("tiny",))

    def places() -> list[str]:
        command = _pip(env, tmp_path / "engine", False)
        return [command[n + 1] for n, word in enumerate(command) if word == "--find-links"]

    assert places() == []
    (tmp_path / "wheels" / "other").mkdir(parents=True)
    assert places() == [str(tmp_path / "wheels" / "other")]
    (tmp_path / "wheels" / "engine").mkdir()
    assert places() == [str(tmp_path / "wheels" / "engine")], "its own come first"


@pytest.mark.parametrize("case", ["root", "user", "there", "no apt-get", "apt-get fails"])
def test_chromium_is_installed_where_it_is_missing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the tests run; where that cannot be done, it says what will not run."""
    bin, ran = tmp_path / "bin", list[list[str]]()
    bin.mkdir()

    def program(name: str) -> None:
        (bin / name).touch(mode=0o755)

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        ran.append(command)
        if "install" in command and case != "apt-get fails":
            program("chromium")
        return subprocess.CompletedProcess(command, int(case == "apt-get fails"))

    for name in (runner.SHELL, *runner.PROGRAMS):
        program(name)
    if case != "no apt-get":
        program("apt-get")
    if case == "there":
        program("chromium")
    monkeypatch.setattr(os, "environ", {"PATH": str(bin)})
    monkeypatch.setattr(os, "geteuid", lambda: int(case == "user"))
    monkeypatch.setattr(sys, "argv", ["python -m tests", "--only", "pytest"])
    monkeypatch.setattr(runner, "prepare", lambda *_: "python")
    monkeypatch.setattr(runner, "prepare_engines", lambda *_: "")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    assert runner.main() == int(case == "apt-get fails")
    assert ran.pop()[:3] == ["python", "-m", "pytest"]
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    before = ["sudo", "-n"] if case == "user" else []
    what = ["install", "-y", "--no-install-recommends", "chromium", "fonts-noto-core"]
    asks = [[*before, *quiet, "update"], [*before, *quiet, *what]]
    assert ran == ([] if case in ("there", "no apt-get") else asks)
    missing = case in ("no apt-get", "apt-get fails")
    assert ("The browser tests will not run" in capsys.readouterr().out) == missing
