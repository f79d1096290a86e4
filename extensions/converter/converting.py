"""Carries a plan out: each file in a worker, into a hidden part; then all of them appear."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from extensions.converter.plans import INDEX, Index, Plan, Step, text_of
from kernel.api import Refused, Struct, Worker, WorkerDied, WorkerError, built, kill_at, write

QUIET = 600.0
"""Seconds without a sign of progress after which a conversion is given up."""
SPARE = 100_000_000
"""Bytes that stay free on the disk."""
Report = Callable[[float, str], None]
Start = Callable[[], Awaitable[Worker]]
Run = Callable[..., Awaitable[Any]]
"""Calls blocking code, as `ext.thread` does."""


class Made(msgspec.Struct):
    """What a part holds, and of which file it was made."""

    stamp: str
    size: int
    names: list[str]
    gone: list[str] = []
    left_out: list[str] = []


@built
class Progress(msgspec.Struct):
    """How far a conversion is: what it keeps in case the server ends."""

    made: dict[str, Made] = {}
    publishing: bool = False


class Done(Struct, frozen=True):
    """What was made: names of files, bytes, and what of the original is not in them."""

    targets: tuple[str, ...]
    size: int
    left_out: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What a person is told."""
        names = self.targets[0] if len(self.targets) == 1 else f"{len(self.targets)} files"
        said = f"{names} made, {self.size / 1e6:,.1f} MB; the original stays."
        if self.left_out:
            said += f" Left out, for they are no weights: {', '.join(self.left_out[:5])}."
        return said


class Conversion:
    """One plan, carried out; `keep` stores how far it is."""

    def __init__(
        self,
        plan: Plan,
        start: Start,
        thread: Run,
        report: Report,
        keep: Callable[[Any], None] = lambda kept: None,
        kept: Any = None,
    ) -> None:
        self._plan, self._start, self._thread, self._report = plan, start, thread, report
        self._keep, self._progress = keep, msgspec.convert(kept or {}, Progress)

    async def run(self) -> Done:
        """Raises Refused with what to do; then nothing is left of it, and the original stays."""
        try:
            if not self._progress.publishing:
                await self._thread(self._check_space)
                await self._make()
                self._progress.publishing = True
                self._save()
            kill_at("converter.made")
            await self._thread(self._publish)
        except asyncio.CancelledError:
            # The server may only be ending: whoever cancels calls `discard`.
            raise
        except BaseException:
            await self._thread(self.discard)
            raise
        made = self._progress.made.values()
        left = dict.fromkeys(name for each in made for name in each.left_out)
        size = sum(each.size for each in made)
        return Done(tuple(path.name for path in self._plan.targets), size, tuple(left))

    def discard(self) -> None:
        """Take the hidden parts away. Blocking."""
        for step in self._plan.steps:
            with contextlib.suppress(OSError):
                self._plan.part(step).unlink(missing_ok=True)

    async def _make(self) -> None:
        worker: Worker | None = None
        before, total = 0, max(1, self._plan.size)
        try:
            for step in self._plan.steps:
                source = self._plan.folder / step.source
                stamp, size = await self._thread(stamp_of, source)
                if not self._ready(step, stamp):
                    worker = worker or await self._start()
                    span = before / total, size / total
                    self._progress.made[step.target] = await self._convert(
                        worker, step, stamp, span
                    )
                    self._save()
                before += size
        finally:
            if worker:
                await asyncio.shield(worker.close(grace=0))

    async def _convert(
        self, worker: Worker, step: Step, stamp: str, span: tuple[float, float]
    ) -> Made:
        source, part = self._plan.folder / step.source, self._plan.part(step)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(QUIET) as patience:

                def heard(fraction: float, note: str) -> None:
                    patience.reschedule(loop.time() + QUIET)
                    self._report(span[0] + fraction * span[1], note)

                told: Mapping[str, Any] = await worker.call(
                    "convert", heard, source=str(source), part=str(part), tied=self._plan.tied
                )
        except TimeoutError:
            minutes = f"{QUIET / 60:.0f} minutes"
            raise Refused(
                f"{source.name} was given up: nothing happened for {minutes}. Look whether its "
                "disk is well, then try again."
            ) from None
        except WorkerDied as error:
            raise Refused(died(source, str(error))) from error
        except WorkerError as error:
            raise Refused(str(error)) from error
        size = await self._thread(lambda: part.stat().st_size)
        return Made(stamp, size, list(told["names"]), list(told["gone"]), list(told["left_out"]))

    def _ready(self, step: Step, stamp: str) -> bool:
        """Whether its part was made of the file as it is now, and is whole."""
        part, made = self._plan.part(step), self._progress.made.get(step.target)
        if not made or made.stamp != stamp or part.is_symlink() or not part.is_file():
            return False
        return part.stat().st_size == made.size

    def _check_space(self) -> None:
        """Whether the disk has room for what is still to be made; raises Refused."""
        folder, needed = self._plan.folder, 0
        for step in self._plan.steps:
            stamp, size = stamp_of(folder / step.source)
            if not self._ready(step, stamp):
                needed += size
                with contextlib.suppress(OSError):
                    needed -= self._plan.part(step).lstat().st_size  # It is overwritten.
        free = shutil.disk_usage(folder).free
        if free < needed + SPARE:
            raise Refused(
                f"{folder.name} needs {needed / 1e9:.1f} GB more, for the original stays, and its "
                f"disk has {free / 1e9:.1f} GB free. Free some space, then try again."
            )

    def _save(self) -> None:
        self._keep(msgspec.to_builtins(self._progress))

    def _publish(self) -> None:
        """Give the parts their names; the list of parts comes last, so that engines see all."""
        index = self._index() if self._plan.index else b""
        published: list[Path] = []
        try:
            for step in self._plan.steps:
                target = self._plan.folder / step.target
                publish(self._plan.part(step), target)
                published.append(target)
                kill_at("converter.published")
            if self._plan.index:
                write(self._plan.folder / self._plan.index, index)
        except BaseException:
            for target in published:
                target.unlink(missing_ok=True)
            raise

    def _index(self) -> bytes:
        """model.safetensors.index.json; raises Refused where the parts do not make a whole."""
        where: dict[str, str] = {}
        for target, made in self._progress.made.items():
            if twice := where.keys() & set(made.names):
                raise Refused(f"Two of its files hold {min(twice)[:80]}. Download the model again.")
            where |= dict.fromkeys(made.names, target)
        gone = {name for made in self._progress.made.values() for name in made.gone}
        listed = self._plan.folder / INDEX
        if listed.exists():
            names = msgspec.json.decode(text_of(listed), type=Index).weight_map.keys()
            if lost := names - where.keys() - gone:
                raise Refused(
                    f"{len(lost)} weights are in none of its files, such as {min(lost)[:80]}. "
                    "Download the model again."
                )
        size = sum(made.size for made in self._progress.made.values())
        data = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
        return msgspec.json.format(msgspec.json.encode(data))


def stamp_of(path: Path) -> tuple[str, int]:
    """What tells whether a file is still the same, and its size."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}", status.st_size


def publish(part: Path, target: Path) -> None:
    """Give a part its name; what has that name already stays. Raises Refused."""
    try:
        os.link(part, target)
        part.unlink()
    except FileExistsError:
        if target.exists() and (not part.exists() or os.path.samefile(part, target)):
            part.unlink(missing_ok=True)  # A start before this one came as far as that.
            return
        raise Refused(f"{target.name} appeared meanwhile, and stays. Move it away first.") from None
    except FileNotFoundError:
        if not target.exists():
            raise Refused(f"{part.name} went away meanwhile. Convert it again.") from None
    except OSError:  # A disk that knows no links.
        if target.exists() or target.is_symlink():
            raise Refused(f"{target.name} appeared meanwhile. Move it away first.") from None
        part.rename(target)


def died(source: Path, reason: str) -> str:
    """Why the worker went, where its own words would be those of a model that was loaded."""
    if "memory" in reason:
        return (
            f"Memory ran out while {source.name} was converted. Close other programs, or convert "
            "it on another machine. The original is as it was."
        )
    return f"{source.name} was not converted. {reason} The original is as it was."
