"""The search for a culprit where no page opens: a server for each step, and the question here."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from extensions.workshop.bisect import begun
from kernel.api import Kernel, Refused

ROOT = Path(__file__).resolve().parents[2]


async def search(kernel: Kernel) -> None:
    """Ask until the culprit is known; nothing is written to the settings."""
    on = [id for id in kernel.ordered() if kernel.enabled(id) and kernel.records[id].manifest]
    found = begun(kernel, on, None)
    order = found.order
    always = [id for id in on if id not in order]
    while not found.ended:
        off = ", ".join(kernel.name(id) for id in order if id not in found.on)
        say(f"Step {found.step} of at most {found.steps}: without {off}.")
        async with serving(kernel, [*always, *found.on]):
            found = found.answered(await wrong())
    if found.none:
        return say("None of them: it is wrong with every extension off that can be switched.")
    if found.untold:
        left = ", ".join(map(kernel.name, found.left))
        return say(f"It is one of these, or no extension: {left}.")
    say(f"It is {kernel.name(found.culprit)}. To leave it off, switch it off in Settings, or write")
    say(f"extensions: {found.culprit}: enabled: false, one below the other, into settings.yaml.")


@asynccontextmanager
async def serving(
    kernel: Kernel, ids: Sequence[str], *more: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A server with these extensions, on the user's data."""
    flags = ("--data-dir", str(kernel.data), "--settings", str(kernel.settings.path))
    command = ("-m", "kernel", "serve", "--no-browser", *more, *flags, "--extensions", *ids)
    child = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield child
        if child.returncode == 1:  # As where another one has the folder; a crash is an answer.
            raise Refused("That server did not run, so the search ended: it says why above.")
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await child.wait()


async def wrong() -> bool | None:
    """The answer to the question; without anybody to answer it the search ends."""
    while True:
        say("Is it still wrong? Type yes or no, or ? if that cannot be tried without what is off.")
        answer = (await asyncio.to_thread(sys.stdin.readline)).lower()
        if answer.strip() in ("y", "yes", "n", "no", "?"):
            return None if answer.startswith("?") else answer.startswith("y")
        if not answer:
            raise Refused("Nobody answers, so the search ended. Everything is as it was.")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
