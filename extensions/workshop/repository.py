"""A commit of a git repository over https: nothing of it is run, followed or checked out."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from extensions.workshop.archives import tar
from extensions.workshop.trees import MB, Tree
from kernel.api import Refused

ADDRESS = re.compile(
    r"(?P<url>https://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?(?:/[A-Za-z0-9_~+][A-Za-z0-9_.~+-]*)+)"
    r"@(?P<commit>[0-9a-f]{40})"
)
SECONDS, MOST = 120, 200 * MB
"""What a fetch may take of time, and of the disk."""
MISSING = (
    "Installing from an address needs git. On Debian and Ubuntu: sudo apt install git; elsewhere "
    "see git-scm.com. Or download an archive of it, and install that."
)
WRONG = (
    "An address is https://host/repository.git@ and the 40 digits of a commit, with no name or "
    "password in it. Other ways in are not taken."
)
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "credential.helper": "",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "20",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "transfer.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "core.symlinks": "false",
}


def parse(address: str) -> tuple[str, str]:
    """The repository and the commit; raises Refused for every other form of address."""
    if not (match := ADDRESS.fullmatch(address)) or len(address) > 500:
        raise Refused(WRONG)
    return match["url"], match["commit"]


def fetch(address: str, into: Path, cancelled: Callable[[], bool]) -> None:
    """Fetch one commit, and unpack its files as an archive's."""
    url, commit = parse(address)
    work = into.with_name(f"{into.name}.git")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _git(work, cancelled, "init", "-q", "--bare", "--template=", "repository")
        flags = ("--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "-q")
        _git(work, cancelled, "fetch", *flags, "--", url, commit)
        _git(work, cancelled, "archive", "--format=tar", "-o", str(work / "tree.tar"), commit)
        with (work / "tree.tar").open("rb") as file:
            tar(file, Tree(into), "r|")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def newest(address: str, work: Path, cancelled: Callable[[], bool]) -> str:
    """The address of the commit that the repository shows to who comes now."""
    url, _ = parse(address)
    work.mkdir(parents=True, exist_ok=True)
    said = _git(work, cancelled, "ls-remote", "-q", "--", url, "HEAD")
    return f"{url}@{said[:40]}" if re.match(r"[0-9a-f]{40}\s", said) else address


def environment(home: Path) -> Mapping[str, str]:
    """Nothing of the user's git comes along: no settings, no helpers, no questions."""
    kept = ("PATH", "SYSTEMROOT", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "https_proxy", "HTTPS_PROXY")
    values = {name: os.environ[name] for name in kept if name in os.environ}
    values |= {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home), "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https", "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    }  # fmt: skip
    for index, (name, value) in enumerate(_SETTINGS.items()):
        values |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    return values


def _git(work: Path, cancelled: Callable[[], bool], *words: str) -> str:
    """Run git until it ends, takes too long or too much; answers what it said."""
    program = shutil.which("git")
    if not program:
        raise Refused(MISSING)
    repository = work / "repository"
    where = ("--git-dir", str(repository)) if words[0] in ("fetch", "archive") else ()
    said = work / "said"
    with said.open("wb") as out:
        child = subprocess.Popen(
            [program, *where, *words],
            cwd=work,
            env=environment(work),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        deadline = time.monotonic() + SECONDS
        try:
            while child.poll() is None:
                if cancelled():
                    raise Refused("It was cancelled.")
                if time.monotonic() > deadline:
                    raise Refused(f"The repository took longer than {SECONDS} s. Try again later.")
                if _size(work) > MOST:
                    raise Refused(f"The repository sends more than {MOST // MB} MB: too large.")
                time.sleep(0.05)
        finally:
            if child.poll() is None:
                _end(child)
    text = said.read_text("utf-8", "replace")
    if child.returncode:
        reason = " ".join(text.split())[-300:].removeprefix("fatal: ")
        raise Refused(f"The repository could not be fetched. git says: {reason}")
    return text


def _end(child: "subprocess.Popen[bytes]") -> None:
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue  # git renames its drafts
    return total
