"""Keeps every request as an engine gets it, a line of JSON each, for tests that read it."""

from typing import Any

import msgspec

from kernel.api import REQUEST, Draft, Extension, Phase, write


async def setup(ext: Extension[Any]) -> None:
    heard: list[bytes] = []

    @ext.on(REQUEST, phase=Phase.LATE)
    async def hear(draft: Draft) -> Draft:
        heard.append(msgspec.json.encode(draft.request))
        await ext.thread(write, ext.data / "requests.jsonl", b"\n".join(heard))
        return draft
