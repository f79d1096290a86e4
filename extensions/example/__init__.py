"""Does everything that an extension can do, once. Read it from top to bottom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from starlette.responses import JSONResponse

from kernel.api import (
    OUTPUT,
    PANELS,
    ROUTES,
    Action,
    Client,
    Delta,
    Everyone,
    Extension,
    Generated,
    Job,
    JobKind,
    Message,
    Meta,
    NoModel,
    Panel,
    Request,
    Route,
    Router,
    Routes,
    Struct,
    Text,
    Turn,
)  # fmt: skip

Ending = Annotated[str, Meta(max_length=100, description="What is added to each reply.")]
Steps = Annotated[int, Meta(ge=1, le=1000, description="How far “Count slowly” counts.")]


class Settings(Struct, frozen=True):  # its form, checks and comments come from this alone
    """What a user may change."""

    ending: Ending = ""
    steps: Steps = 20


class Ask(Action, frozen=True):  # the page sends {"action": "example.ask", "about": "…"}
    about: str


class Start(Action, frozen=True):  # {"action": "example.start"}
    pass


class Count(JobKind, frozen=True):  # work that survives a restart: its fields are stored
    steps: int


class Heard(Struct, frozen=True):  # an event: past tense, and anyone may listen
    replies: int


async def setup(ext: Extension[Settings]) -> None:
    heard = 0

    @asynccontextmanager
    async def notebook() -> AsyncIterator[list[str]]:  # a resource of any kind: open, use, close
        yield []

    notes = await ext.enter(notebook())  # closed when the extension stops
    ext.defer(notes.clear)  # so is anything else: a function to call then

    @ext.on(OUTPUT)  # a point: change what is stored, piece by piece, as it streams
    async def add_ending(deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        async for delta in deltas:
            yield delta
        if ext.settings.ending:
            yield Delta(ext.settings.ending)

    @ext.on(Generated)  # an event: the model has finished a reply
    async def generated(event: Generated) -> None:
        nonlocal heard
        notes.append(await ext.thread(str.upper, event.finish.reason))  # blocking code
        heard += 1
        ext.emit(Heard(heard))
        await ext.push("_heard.html", heard=heard, key="heard", oob=True)  # to every open page

    @ext.on(Ask)  # an action: a button was pressed, by this client
    async def ask(action: Ask, client: Client) -> None:
        message = Message("user", (Text(f"One word about {action.about}."),))
        reply = ext.run(Turn(messages=(message,)))  # a whole turn, with every modifier
        said = "".join([delta.text async for delta in reply])
        ext.tell(reply.finish.error if reply.finish and reply.finish.error else said, client)

    @ext.on(Start)
    async def start(action: Start, client: Client) -> None:
        ext.job("Counting slowly", Count(ext.settings.steps))  # a bar, and a button to cancel it

    @ext.on(Count)  # runs now, and again from its checkpoint if the server ended meanwhile
    async def count(job: Job, params: Count) -> None:
        for step in range(job.checkpoint or 0, params.steps):
            job.report(step / params.steps, f"at {step + 1}")
            job.keep(step)
            await asyncio.sleep(0.1)

    async def warm_up(job: Job) -> str:  # work that ends with the server, here in the background
        try:
            generation = await ext.generate(Request(prompt="Hello"))  # the model, and no modifier
            return "".join([delta.text async for delta in generation])
        except NoModel:
            return ""

    async def later() -> None:
        await asyncio.sleep(3600)
        await ext.job("Warming up", warm_up).done
        ext.tell("The model is warm.", Everyone())

    ext.spawn(later(), "warm up")  # cancelled when the extension stops

    async def context(client: Client | None, subject: str) -> dict[str, int]:
        return {"heard": heard}

    async def answer(request: object) -> JSONResponse:
        return JSONResponse({"heard": heard, "notes": notes})

    ext.add(PANELS, Panel("status", "status.html", context, order=50))  # a part of the page
    ext.add(ROUTES, Routes(Router([Route("/ext/example/heard", answer)]), "page"))  # an address
