"""Turns weights that could run programs into safetensors, in a worker; the original stays."""

import asyncio
from typing import Any, Literal

from extensions.converter.converting import Conversion
from extensions.converter.plans import plan_of
from extensions.converter.views import Views
from extensions.models.api import MODELS, watching
from kernel.api import (
    PANELS,
    Action,
    Client,
    Disconnected,
    Extension,
    Job,
    JobKind,
    JobProgress,
    Panel,
    Refused,
    Worker,
    safe_path,
)

EVERY = 2
"""Seconds between two looks into the folders while a page shows them."""


class Convert(Action, frozen=True):
    """Begin to convert a file or a folder, by its name below models/ or loras/."""

    file: str
    place: Literal["models", "loras"] = "models"


class Conversions(JobKind, frozen=True):
    """A conversion; after a restart, the parts that were made already are kept."""

    place: str
    file: str


async def setup(ext: Extension[Any]) -> None:
    roots = {"models": ext.models, "loras": ext.loras}
    beginning, one_at_a_time = asyncio.Lock(), asyncio.Lock()
    views = Views(ext, roots)

    @ext.on(Convert)
    async def convert(action: Convert, client: Client) -> None:
        name = (action.place, action.file)
        async with beginning:  # Else two clicks at once would begin it twice.
            if name in views.running:
                raise Refused(f"{action.file} is being converted already. Wait until it is done.")
            await ext.thread(plan_of, path_of(*name))  # What cannot be begun is told at once.
            views.running[name] = ext.job(f"Converting {action.file}", Conversions(*name))
        views.failed.pop(name, None)
        await views.tell()

    def path_of(place: str, file: str) -> Any:
        try:
            return safe_path(roots[place], *file.split("/"), follow=True)
        except (ValueError, KeyError) as error:
            raise Refused(f"{error} Choose one of the list.") from None

    @ext.on(Conversions)
    async def run(job: Job, params: Conversions) -> None:
        name = (params.place, params.file)
        views.running[name] = job
        try:
            job.report(0, "Waiting for another conversion" if one_at_a_time.locked() else "")
            async with one_at_a_time:
                await carried_out(job, path_of(*name))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            views.failed[name] = str(error)
            raise
        finally:
            views.running.pop(name, None)
        for models in ext.get(MODELS):
            await models.look()

    async def carried_out(job: Job, path: Any) -> None:
        plan = await ext.thread(lambda: plan_of(path, again=bool(job.checkpoint)))

        async def start() -> Worker:
            return await ext.worker("worker.py:Engine", lambda done, note: job.report(None, note))

        work = Conversion(plan, start, ext.thread, job.report, job.keep, job.checkpoint)
        try:
            done = await work.run()
        except asyncio.CancelledError:
            if job.cancelled():  # Else the server ends, and goes on with it when it is back.
                await asyncio.shield(ext.thread(work.discard))
            raise
        job.report(1, done.sentence)

    @ext.on(JobProgress)
    async def progress(event: JobProgress) -> None:
        if event.owner == ext.id:
            await (views.tell() if event.state == "running" else views.look(tell=True))

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        views.left(event.client)

    ext.add(PANELS, Panel("models", "panel.html", views.context, order=10))
    ext.add(PANELS, Panel("model_file", "file.html", views.one, order=-10))
    ext.spawn(watching(ext, ext.models, EVERY, views.look_again), "watch")
