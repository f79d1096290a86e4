"""Isolated Python environments, built from a lock and made valid by a stamp written last."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kernel import stamps
from kernel.failures import Refused
from kernel.stamps import BASE

Report = Callable[[float, str], None]

_STEP = (
    re.compile(  # "  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (191.8 MB)", and such
        r"\s*(Collecting|Processing|Downloading|Building|Installing) (?:\S*[/\\])?([^(:]+?)"
        r"(?:-(?:cp|py)\d\S*)?(?::.*| \(\D.*)?( \(\d.*\))?$"
    )
)
_AWAY = re.compile(r"Retrying \(|ConnectionError|timed out|ProxyError|SSLError")
_FULL = re.compile(r"No space left on device|Errno 28|WinError 112")
_LITTLE = 20_000_000
"""Bytes of a disk with which neither venv nor pip gets far enough to say that it is full."""
_WITHOUT_ENSUREPIP = """\
This Python cannot make environments, for it came without ensurepip. On Debian and Ubuntu run
    sudo apt install python{}.{}-venv
(elsewhere install Python from python.org), then try again."""


@dataclass(frozen=True)
class Environment:
    """What an environment must hold; with no requirements, everything that its lock names."""

    name: str
    requirements: tuple[str, ...]
    lock: Path | None = None
    index: str = ""

    def at(self, folder: Path) -> tuple[str, str, str]:
        """What its stamp in this folder is asked by."""
        return str(folder), str(self.lock or ""), self.index


class EnvironmentFailed(Refused):
    """An environment could not be built or removed; `str` is a sentence for the user."""


def python_of(folder: Path) -> Path:
    """Name the interpreter of the environment in this folder."""
    return Path(stamps.interpreter(str(folder)))


def lock_for(name: str, extensions: Iterable[Path]) -> Path | None:
    """Find the lock that those who share an environment are built from: the first in this order."""
    locks = (folder / f"requirements-{name}.lock" for folder in extensions)
    return next(filter(Path.is_file, locks), None)


def ready(env: Environment, root: Path) -> bool:
    """Tell whether an environment can be used at once."""
    return {*BASE, *env.requirements} <= stamps.held(*env.at(root.resolve() / env.name))


def build(env: Environment, root: Path, report: Report, cancelled: Callable[[], bool]) -> Path:
    """Make an environment ready, at once or in minutes, and return its interpreter."""
    folder, doubt = _folder(env.name, root), ""
    if _strange(folder):
        raise EnvironmentFailed(f"{folder} is not Spindle's, so it stays. Move it away first.")

    def say(fraction: float, note: str) -> None:
        if cancelled():
            raise EnvironmentFailed(f"Making the environment {env.name} was cancelled.")
        report(fraction, note + doubt)

    with _alone(folder, lambda: say(0, "Waiting for another program that does this")) as lock:
        _bring_back(folder)
        if ready(env, root):
            return python_of(folder)
        held = stamps.held(*env.at(folder))  # stays, for others use it: the lock keeps its versions
        try:
            if not held:
                _put_aside(folder)
                _run(_venv(folder), folder, lock, say, "Making the environment")
            if env.index and not _answers(env.index):
                doubt = f" (without {env.index}: no answer)"
            _run(_pip(env, folder, not doubt), folder, lock, say, "Asking the package index")
            new = {*BASE, *env.requirements}
            replaced = set(map(_project, new))  # pip put these in place of what was there of them
            kept = {each for each in held if _project(each) not in replaced}
            stamp = stamps.identity(*env.at(folder)) + "\n".join(sorted(kept | new))
            (folder / "stamp.new").write_text(stamp, "utf-8")
            (folder / "stamp.new").replace(folder / "stamp")
        except BaseException:
            _bring_back(folder)
            raise
        with suppress(OSError):
            _clear(_aside(folder))
    return python_of(folder)


def _project(requirement: str) -> str:
    """Whose version it names: of one project an environment holds one."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", requirement)[0]).lower()


def remove(name: str, root: Path) -> None:
    """Delete an environment, after whoever builds it has ended, and give its disk space back."""
    folder = _folder(name, root)
    if name == "wheels" or (folder.exists() and not folder.with_name(f"{name}.lock").exists()):
        raise EnvironmentFailed(f"{folder} is no environment, so it stays.")
    with _alone(folder, lambda: None):
        _clear(folder)
        _clear(_aside(folder))


def _folder(name: str, root: Path) -> Path:
    """Where it lies; the name, which may be of a stranger's manifest, leads nowhere else."""
    if Path(name).name != name or name in ("", ".."):
        raise EnvironmentFailed(f"{name!r} is no environment, so it stays as it is.")
    return root.resolve() / name


def _strange(folder: Path) -> bool:
    """Whether somebody else's files are in it: each of ours was begun with a lock and a log."""
    ours = folder.with_name(f"{folder.name}.lock"), folder / "install.log"
    with suppress(OSError):  # Who cannot look there is told that by what follows.
        return folder.is_dir() and any(folder.iterdir()) and not any(map(Path.exists, ours))
    return False


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.before")


def _put_aside(folder: Path) -> None:
    """Make room for a new one; what works comes back should that fail, or be killed."""
    if (folder / "stamp").exists():
        _clear(_aside(folder))
        folder.rename(_aside(folder))
    _clear(folder)


def _bring_back(folder: Path) -> None:
    """Have what was put aside, unless the new one was finished; with that one's log, which says
    why."""
    if (_aside(folder) / "stamp").exists() and not (folder / "stamp").exists():
        log = folder / "install.log"
        said = log.read_bytes() if log.exists() else b""
        _clear(folder)
        _aside(folder).rename(folder)
        with suppress(OSError):
            log.write_bytes(said)


def _clear(folder: Path) -> None:
    (folder / "stamp").unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _venv(folder: Path) -> list[str]:
    if importlib.util.find_spec("ensurepip") is None:
        raise EnvironmentFailed(_WITHOUT_ENSUREPIP.format(*sys.version_info))
    # Not sys.executable: that may be the very interpreter which is being replaced.
    return [getattr(sys, "_base_executable", sys.executable), "-I", "-m", "venv", str(folder)]


def _pip(env: Environment, folder: Path, with_index: bool) -> list[str]:
    pip = [str(python_of(folder)), "-I", "-m", "pip", "install", "--no-input"]
    pip += ["--progress-bar", "off", "--disable-pip-version-check"]
    if env.index and with_index:
        pip += ["--extra-index-url", env.index]
    wheels = folder.parent / "wheels"  # what was compiled here: for this environment, or for others
    own = wheels / folder.name
    for built in [own] if own.is_dir() else sorted(wheels.glob("*/")):
        pip += ["--find-links", str(built)]
    if env.lock:
        pip += ["-c" if env.requirements else "-r", str(env.lock)]
    return [*pip, "--", *env.requirements, *BASE]


def _answers(index: str) -> bool:
    # pip would try an index that is away for minutes, once for every package.
    from urllib.request import urlopen  # noqa: PLC0415 - 30 ms, at every start

    try:
        urlopen(index, timeout=5).close()
    except OSError as error:
        return hasattr(error, "code")  # an HTTP error is an answer
    return True


def _run(command: list[str], folder: Path, lock: int, say: Report, note: str) -> None:
    """Run venv or pip, and follow the log that it writes; it keeps the lock if we are killed."""
    folder.mkdir(exist_ok=True)
    log, keep = folder / "install.log", () if sys.platform == "win32" else (lock,)
    with log.open("wb") as out, log.open(encoding="utf-8", errors="replace") as lines:
        child = subprocess.Popen(
            command, stdout=out, stderr=out, pass_fds=keep, start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )  # fmt: skip
        fraction = 0.05
        try:
            while child.poll() is None:
                for step in filter(None, map(_STEP.match, lines)):
                    fraction += (0.95 - fraction) / 20
                    note = "{} {}{}".format(*step.groups(""))
                say(fraction, note)
                time.sleep(0.1)
        finally:
            if child.poll() is None:
                from kernel.platform_ import kill_tree  # noqa: PLC0415 - 6 ms of every start

                kill_tree(child.pid)
                child.wait()
    if child.returncode:
        raise EnvironmentFailed(f"The environment {folder.name} could not be made. {_reason(log)}")


def _reason(log: Path) -> str:
    said = log.read_text("utf-8", "replace")
    if _FULL.search(said):
        return "The disk is full: free some space, then try again."
    for place in (log.parent, Path(os.environ.get("TMPDIR", "/tmp"))):
        if place.is_dir() and shutil.disk_usage(place).free < _LITTLE:  # Then nobody can say it.
            return f"The disk that holds {place} is full: free some space, then try again."
    if _AWAY.search(said):
        return (
            "The package index does not answer: check the network or HTTPS_PROXY, then try again."
        )
    if none := re.search(r"No matching distribution found for (\S+)", said):
        version = "{}.{}".format(*sys.version_info)
        why = f"There is no {none[1]} for this system and Python {version}."
        return (
            f"{why} Another Python may have one, or it is misspelt; all that was said is in {log}"
        )
    errors = re.findall(r"^ERROR: (.+)", said, re.MULTILINE) or said.split("\n")
    return f"{' '.join(errors[-3:])} Mend that and try again; all that was said is in {log}"


@contextmanager
def _alone(folder: Path, waiting: Callable[[], None]) -> Generator[int]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("ab") as file:
            while not try_lock(file.fileno()):
                waiting()
                time.sleep(0.2)
            yield file.fileno()
    except OSError as error:
        raise EnvironmentFailed(
            f"{folder} cannot be written: {error.strerror or error}. Free some space, end what "
            "uses it or choose another place, then try again."
        ) from error


def hold(folder: Path) -> IO[bytes] | None:
    """Say that a process runs in an environment, until the file is closed or the process ends."""
    with suppress(OSError):  # None of ours, or a place that takes no file: it is not made anew.
        (folder / "stamp").stat()
        file = folder.with_name(f"{folder.name}.used").open("ab")
        try_lock(file.fileno(), shared=True)
        return file
    return None


def in_use(folder: Path) -> bool:
    """Whether one does."""
    with suppress(OSError), folder.with_name(f"{folder.name}.used").open("rb") as file:
        return not try_lock(file.fileno())
    return False


def try_lock(file: int, *, shared: bool = False) -> bool:
    """Lock an open file against other processes, until it is closed or its holder dies."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - only where it exists

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415 - only where it exists

            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, how | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
