"""Replies as llama.cpp's server gives them: whole, and as a stream."""

from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Heard, Programs, Wish, json, make
from kernel.api import Delta

from .answers import completed, likely
from .asked import Completion


async def whole(
    programs: Programs, call: Call, body: Completion, wishes: list[Wish], several: bool
) -> Response:
    """One answer, or one for each prompt in a list."""
    heard = [Heard() for _ in wishes]

    async def hear(index: int, delta: Delta) -> None:
        heard[index].hear(delta)

    runs = await make(programs, call, wishes, hear)
    probs, ids = bool(body.n_probs), bool(body.return_tokens)
    found = [
        completed(n, run, said.text(), said.tokens, whole=True, ids=ids, probs=probs)
        for n, (run, said) in enumerate(zip(runs, heard, strict=True))
    ]
    return json(found if several else found[0])


async def streamed(programs: Programs, call: Call, body: Completion, wishes: list[Wish]) -> None:
    """Pieces as they come; what fails before the first has the status of its error."""
    heard, written = [Heard() for _ in wishes], [0] * len(wishes)
    async with call.stream() as out:

        async def hear(index: int, delta: Delta) -> None:
            heard[index].hear(delta)
            if delta.channel == "text":
                written[index] += len(delta.tokens) or 1
                await out.write(event(piece(index, delta, written[index], body)))

        runs = await make(programs, call, wishes, hear, hold=True)
        ends = [
            event(completed(n, run, said.text(), said.tokens, whole=False, ids=False, probs=False))
            for n, (run, said) in enumerate(zip(runs, heard, strict=True))
        ]
        await out.write(b"".join(ends))


def piece(index: int, delta: Delta, written: int, body: Completion) -> dict[str, Any]:
    """An event of a stream."""
    probs = {"completion_probabilities": likely(delta.tokens)} if body.n_probs else {}
    return {
        "index": index,
        "content": delta.text,
        "tokens": [token.id for token in delta.tokens],
        "stop": False,
        "id_slot": index,
        "tokens_predicted": written,
        **probs,
    }


def event(data: Any) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
