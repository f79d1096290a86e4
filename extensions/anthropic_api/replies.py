"""Replies as Anthropic's messages: whole, and as a stream of events."""

from starlette.responses import Response

from extensions.api_kit.api import Call, Programs, Wish, growing, json

from .answers import Event, Message, ended, usage_of
from .asking import Body
from .blocks import Blocks, event

PING = event(Event("ping"))


async def whole(programs: Programs, call: Call, body: Body, wish: Wish) -> Response:
    """One answer, when the reply has ended."""
    blocks = Blocks(silent=body.silent)
    async with programs.run(call, wish, hold=True) as run:
        async for delta in run:
            blocks.hear(delta)
        await programs.finished(run)
    blocks.end()
    end = ended(run.finish, blocks.called, body.stop_sequences or [])
    return json(
        Message(
            id=new_id(call),
            model=run.model or body.model or "",
            content=blocks.content,
            stop_reason=end.stop_reason,
            stop_sequence=end.stop_sequence,
            usage=usage_of(run.finish),
        )
    )


async def streamed(programs: Programs, call: Call, body: Body, wish: Wish) -> None:
    """Events as they come; what fails before the first has the status of its error."""
    blocks, started = Blocks(silent=body.silent), False
    async with (
        call.stream(sign=PING) as out,
        programs.run(call, growing(wish), hold=True) as run,
    ):
        async for delta in run:
            data = blocks.hear(delta)
            if not started:
                data, started = opening(call, run.model) + data, True
            if data:
                await out.write(data)
        await programs.finished(run)
        first = b"" if started else opening(call, run.model)
        end = ended(run.finish, blocks.called, body.stop_sequences or [])
        last = Event("message_delta", delta=end, usage=usage_of(run.finish))
        stop = event(last) + event(Event("message_stop"))
        await out.write(first + blocks.end() + stop)


def opening(call: Call, model: str) -> bytes:
    """The message as it begins; its tokens are told at its end."""
    return event(Event("message_start", message=Message(id=new_id(call), model=model))) + PING


def new_id(call: Call) -> str:
    return f"msg_{call.id}"
