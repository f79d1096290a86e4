"""`python download-model.py user/model`: finding and fetching from a terminal.

It works without the server and beside it: what one has begun, the other goes on with.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from extensions.downloader import Settings
from extensions.downloader.addresses import address_of
from extensions.downloader.hub import endpoint_of, token_of, xet_of
from extensions.downloader.news import News, Wishes
from extensions.downloader.plan import Plan, Repository
from extensions.downloader.records import Entry, Kept
from extensions.downloader.terminal import Bar, say
from extensions.downloader.trouble import size_of
from extensions.downloader.wanted import PICKLED, Wanted, planned
from kernel.api import Kernel, Refused, Struct, Worker, WorkerDied, WorkerError

STOPPED = 130
"""The exit status that shells know for Ctrl-C."""


class At(Struct, frozen=True):
    """The hub that is asked, and the token that it is told."""

    endpoint: str
    token: str


async def download(kernel: Kernel, model: str, **flags: Any) -> None:
    """Fetch a model, or check one that was fetched; raises Refused with what to do."""
    workers = _Workers(kernel)
    try:
        await _carry_out(kernel, workers, model, flags)
    except (WorkerError, WorkerDied) as error:
        raise Refused(str(error)) from error
    except asyncio.CancelledError:
        say("\nStopped. The same command goes on where this ended.")
        raise SystemExit(STOPPED) from None
    finally:
        await asyncio.shield(workers.close())


async def _carry_out(
    kernel: Kernel, workers: "_Workers", model: str, flags: dict[str, Any]
) -> None:
    settings = kernel.settings.extension("downloader", Settings)
    usual = endpoint_of(settings.endpoint)
    address = address_of(model, usual)
    own = address.endpoint in ("", usual)
    at = At(address.endpoint or usual, token_of(settings.token.reveal()) if own else "")
    wanted = Wanted.of(flags, address)
    worker = await workers.start("worker.py:Hub")
    revision = wanted.branch or address.revision
    said = await worker.call("repository", repo=address.repo, revision=revision, **_plain(at))
    repository = msgspec.convert(said, Repository)
    places = wanted.places(kernel.models, kernel.loras)
    plan = planned(repository, address, wanted, places, at.endpoint)
    worker = await workers.start("fetcher.py:Fetcher")
    if wanted.check:
        return await _check(worker, plan, places.of(plan.root))
    if any(item.path.endswith((".bin", ".pt", ".pth")) for item in plan.items):
        say(PICKLED)
    wishes = Wishes(
        wanted.threads or settings.threads,
        settings.retries if wanted.max_retries is None else wanted.max_retries,
        clean=wanted.clean,
        xet=xet_of(settings.xet) and not wanted.no_xet,
    )
    await worker.call("pace", rate=settings.limit * 1e6)
    await _fetch(worker, at, plan, places.of(plan.root), wishes)


class _Workers:
    """The children that a command needs, each when it is needed."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._running = kernel, list[Worker]()

    async def start(self, code: str) -> Worker:
        """Its environment is made first, which takes a minute once."""
        record, bar = self._kernel.records["downloader"], Bar()
        worker = await self._kernel.start_worker(record, code, bar.draw, {"HF_HUB_OFFLINE": "0"})
        bar.end()
        self._running.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self._running:
            await worker.close()


async def _fetch(worker: Worker, at: At, plan: Plan, root: Path, wishes: Wishes) -> None:
    entry, bar = Entry("", Kept(plan, state="running")), Bar()
    count = len(plan.items)
    say(f"Fetching {entry.name} to {root / plan.folder}: {count:,} file{'s' * (count > 1)}.")

    def report(fraction: float, note: str) -> None:
        entry.hear(msgspec.json.decode(note, type=News), asyncio.get_running_loop().time())
        bar.draw(entry.fraction, entry.note)

    said = await worker.call(
        "fetch", report, plan=_plain(plan), root=str(root), wishes=_plain(wishes), **_plain(at)
    )
    bar.end()
    news = msgspec.convert(said, News)
    if news.aside:
        say(news.aside)
    if news.full:
        raise Refused(news.full)
    for path, why in news.failed.items():
        say(f"{path}: {why}")
    if news.failed:
        raise Refused(f"{missed(len(news.failed), news.files)} The same command tries again.")
    bar.finish(f"{size_of(news.have)} of {size_of(news.total)}")
    say(f"All is there, and checked: {root / plan.folder}")


async def _check(worker: Worker, plan: Plan, root: Path) -> None:
    bar = Bar()
    found = await worker.call("check", bar.draw, plan=_plain(plan), root=str(root))
    bar.finish("Compared")
    for path, how in found.items():
        say(f"{how:8} {path}")
    if any(how != "right" for how in found.values()):
        raise Refused(differing(plan, found))
    say("All files are right.")


def differing(plan: Plan, found: Mapping[str, str]) -> str:
    """How many files are not what the hub has, and what to do about it."""
    bad = sum(how != "right" for how in found.values())
    anew = "The same command without --check fetches anew what is not right."
    if not plan.folder and "wrong" in found.values():
        anew = (
            "It is damaged, or another model of this name. Move it away; the same command without "
            "--check then fetches it anew."
        )
    return (
        f"{bad:,} of {len(found):,} file{'s' * (len(found) > 1)} {'is' if bad == 1 else 'are'} "
        f"not what the hub has. {anew}"
    )


def missed(failed: int, files: int) -> str:
    """How many files could not be fetched, and what became of the others."""
    if files == 1:
        return "The file could not be fetched."
    if failed == files:
        return f"None of the {files:,} files could be fetched."
    return f"{failed:,} of {files:,} files could not be fetched; the others are kept."


def _plain(data: Struct) -> dict[str, Any]:
    return msgspec.to_builtins(data)
