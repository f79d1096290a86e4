"""/v1/responses: replies as responses, whole or as a stream of typed events, and those kept."""

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Endpoint, Problem, growing, json, read
from kernel.api import Message

from .asking import Ask, Create, asked
from .chat import Rest
from .kept import Kept
from .telling import Event, Telling


class Responses:
    """The routes."""

    def __init__(self, rest: Rest, kept: Kept) -> None:
        self.rest, self.kept = rest, kept

    def endpoints(self) -> tuple[Endpoint, ...]:
        one = "/v1/responses/{id}"
        return (
            Endpoint("/v1/responses", self.create, takes=Create, gives=Event, events=Event,
                     summary="A reply as a response, whole or as typed events."),
            Endpoint(one, self.one, "GET", gives=Event, summary="One that was given."),
            Endpoint(one, self.delete, "DELETE", gives=Event, summary="Forget it."),
        )  # fmt: skip

    async def create(self, call: Call) -> Response | None:
        ask = await asked(self.rest, self.kept, call, read(call.body, dict))
        telling = self.telling(call, ask)
        if ask.body.stream:
            return await self._stream(call, ask, telling)
        programs = self.rest.programs
        async with programs.run(call, ask.wish, hold=True) as run:
            for _ in telling.begin():
                pass
            async for delta in run:
                for _ in telling.hear(delta):
                    pass
            await programs.finished(run)
        for _ in telling.end(run):
            pass
        self.keep(call, ask, telling)
        return json(telling.response)

    async def one(self, call: Call) -> Response:
        data = self.kept.answer(call.caller.owner, str(call.path["id"]))
        return Response(data, media_type="application/json")

    async def delete(self, call: Call) -> Response:
        id = str(call.path["id"])
        self.kept.delete(call.caller.owner, id)
        return json({"id": id, "object": "response.deleted", "deleted": True})

    def telling(self, call: Call, ask: Ask) -> Telling:
        """What makes a response of a reply."""
        info = self.rest.programs.info()
        name = self.rest.programs.called(info) if info else ask.body.model or ""
        return Telling(ask, f"resp_{call.id}", name)

    def keep(self, call: Call, ask: Ask, telling: Telling, connection: object = None) -> None:
        """Remember it; for its connection alone where the program wants it stored nowhere."""
        alone = connection if ask.body.store is False else None
        if ask.body.store is False and not alone:
            return
        items = telling.items()
        messages = (*ask.messages, Message("assistant", tuple(items.values())))
        data = msgspec.json.encode(telling.response)
        self.kept.keep(telling.response["id"], call.caller.owner, messages, data, alone, items)

    async def _stream(self, call: Call, ask: Ask, telling: Telling) -> None:
        """What fails before the first word has the status of its error."""
        programs, begun = self.rest.programs, False
        async with call.stream() as out:
            async with programs.run(call, growing(ask.wish), hold=True) as run:
                async for delta in run:
                    first = [] if begun else [*telling.begin()]
                    begun = True
                    if data := sse([*first, *telling.hear(delta)]):
                        await out.write(data)
                try:
                    await programs.finished(run)
                except Problem as problem:
                    if not out.begun:
                        raise
                    first = [] if begun else [*telling.begin()]
                    return await out.write(sse([*first, *telling.fail(problem.fault)]))
            first = [] if begun else [*telling.begin()]
            last = sse([*first, *telling.end(run)])
            self.keep(call, ask, telling)
            await out.write(last)


def sse(events: list[Event]) -> bytes:
    """Events by their types."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))
        for event in events
    )
