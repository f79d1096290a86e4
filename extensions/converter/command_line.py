"""`python server.py convert PATH`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from extensions.converter.converting import Conversion
from extensions.converter.plans import plan_of
from kernel.api import Kernel, Refused, Worker

ID = "converter"


async def convert(kernel: Kernel, path: str) -> None:
    """Make safetensors of a file or a folder."""
    plan = plan_of(found(kernel, path))

    async def start() -> Worker:
        try:
            return await kernel.start_worker(kernel.records[ID], "worker.py:Engine", show, {})
        except RuntimeError as error:
            raise Refused(str(error)) from None

    work = Conversion(plan, start, asyncio.to_thread, show)
    try:
        done = await work.run()
    except asyncio.CancelledError:
        work.discard()
        raise
    show(1, "\n")
    say(f"{plan.folder}: {done.sentence}")


def found(kernel: Kernel, path: str) -> Path:
    """What is meant: a path as it stands, or one below models/ or loras/."""
    for root in (Path(), kernel.models, kernel.loras):
        if (place := root / path).exists():
            return place.resolve().parent / place.name if place.is_symlink() else place.resolve()
    raise Refused(f"There is no {path}, here or below {kernel.models} or {kernel.loras}.")


def show(fraction: float, note: str) -> None:
    """Draw one line of progress, over and over; a log gets none of it."""
    if sys.stdout.isatty():
        said: Any = "".join(c if c.isprintable() else "�" for c in note[:70])
        sys.stdout.write(f"\r\x1b[K  {fraction:4.0%}  {said}" if note != "\n" else "\r\x1b[K")
        sys.stdout.flush()


def say(text: str) -> None:
    sys.stdout.write("".join(c if c.isprintable() else "�" for c in text) + "\n")
