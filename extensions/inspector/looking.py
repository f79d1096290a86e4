"""What the sheet shows of a reply: from its record, or made anew where there is none."""

from collections.abc import Sequence
from typing import Any

import msgspec

from extensions.conversations.api import Store, StoredMessage
from extensions.prompts.api import PROMPTS, rendered
from kernel.api import UNSET, Extension, Message, Request

from .describing import compared
from .records import ASKED, MODE, Trace

MOST = 3_000
"""Tokens that are shown: as many of the beginning as of the end."""
EXCERPT = 200
POINTS = {
    "input": "your message", "history": "the messages before it", "request": "the request",
    "output": "the reply",
}  # fmt: skip
"""What an extension changes at each point."""
SAME = "Rendered from the request that was kept, by the model that was asked."
OTHER = (
    "Rendered from the request and the template that were kept. The model that was asked is not"
    " loaded: its special tokens may be missing, and tokens are not shown."
)
ANEW = (
    "Nothing was kept of this reply. This is made anew from the conversation, by the model that is"
    " loaded now and without what extensions changed."
)
UNTOLD = "not known: the engine drew one"
UNKNOWN = "Nothing was kept of this reply, and no model is loaded that could say it anew."


class Looking:
    """Makes the context of _sheet.html."""

    def __init__(self, ext: Extension[Any], store: Store) -> None:
        self._ext, self._store = ext, store

    async def context(self, message: StoredMessage, record: Trace | None) -> dict[str, Any]:
        request = record.request if record else None
        text, how = await self._text(message, record)
        tokens = await self._tokens(text, message, record)
        changes = [*record.changes] if record else []
        return {
            "id": message.id,
            "figures": figures(message, record),
            "text": text,
            "how": how,
            "count": len(tokens),
            "tokens": tokens if len(tokens) <= MOST else tokens[: MOST // 2],
            "end": tokens[-MOST // 2 :] if len(tokens) > MOST else [],
            "kept": bool(record),
            "left_out": await self._left_out(message),
            "unread": await self._unread(message),
            "changes": [
                {
                    "owner": called(change.owner),
                    "what": POINTS.get(change.point, change.point),
                    "lines": await self._ext.thread(compared, change.before, change.after),
                }
                for change in changes
            ],
            "passed": [(called(o), POINTS.get(p, p)) for o, p in record.passed] if record else [],
            "raw": message.raw,
            "said": message.text,
            "reasoning": message.reasoning,
            "sampling": sampling(record) if record else [],
            "request": rest(request) if request else [],
            "sources": [
                (name, text)
                for name, text in (("Template", request.template), ("Grammar", request.grammar))
                if text
            ]
            if request
            else [],
        }

    # --- inside ------------------------------------------------------------------------

    async def _text(self, message: StoredMessage, record: Trace | None) -> tuple[str, str]:
        """The text that was sent, and a sentence on where it comes from."""
        model = self._ext.slot().model
        try:
            if not record or not record.request:
                if not model:
                    return "", UNKNOWN
                past = await self._store.history(message.parent) if message.parent else ()
                return await self._render(Request(messages=tuple(m.message for m in past))), ANEW
            if record.request.prompt is not None:
                return record.request.prompt, ""
            if model and model.info.name == message.model:
                return await self._render(record.request), SAME
            return await self._beside(record), OTHER
        except Exception as error:  # Whatever it is: the rest of the sheet is worth showing.
            return "", f"The text cannot be rendered now: {error}"

    async def _render(self, request: Request) -> str:
        """By the model that is loaded."""
        model = self._ext.slot().model
        assert model
        return await rendered(model, request)

    async def _beside(self, record: Trace) -> str:
        request, prompts = record.request, self._ext.one(PROMPTS)
        assert request
        source = request.template or record.chat_template
        messages: Sequence[Message] = request.messages or ()
        how = {"continue_": request.continue_, "add_generation_prompt": True}
        return await prompts.lines(source, messages, request.template_options, **how)

    async def _tokens(
        self, text: str, message: StoredMessage, record: Trace | None
    ) -> list[dict[str, Any]]:
        model = self._ext.slot().model
        if not text or not model or (record and model.info.name != message.model):
            return []
        try:
            found: Any = await model.call("tokenize", text=text, pieces=True)
        except Exception:  # It is a help beside the text.
            return []
        if found and isinstance(found[0], int):
            return [{"id": id, "text": f" {id} ", "special": False} for id in found]
        return [
            {"id": id, "text": bytes(piece).decode(errors="replace"), "special": bool(special)}
            for id, piece, special in found
        ]

    async def _left_out(self, message: StoredMessage) -> list[dict[str, str]]:
        """The messages before it that did not fit."""
        if not message.left_out or not message.parent:
            return []
        past = [m for m in await self._store.history(message.parent) if m.role != "system"]
        return [
            {"role": m.role, "text": m.text[:EXCERPT] + ("…" if len(m.text) > EXCERPT else "")}
            for m in past[: message.left_out]
        ]

    async def _unread(self, message: StoredMessage) -> str:
        """The end of the user's message, where that alone was too long."""
        if not message.cut or not message.parent:
            return ""
        past = await self._store.history(message.parent)
        asked = next((m.text for m in reversed(past) if m.role == "user"), "")
        end = asked[-message.cut :]
        return end[:EXCERPT] + ("…" if len(end) > EXCERPT else "")


def called(owner: str) -> str:
    """An extension as people call it."""
    return owner.replace("_", " ").capitalize()


def figures(message: StoredMessage, record: Trace | None) -> list[tuple[str, str]]:
    """Names and values; what is not known is left out."""
    usage, timings = message.usage, message.timings
    read = usage.prompt - usage.cached
    found = {
        "Model": message.model,
        "Engine": message.loader,
        "Mode": called(record.mode) if record and record.mode else "",
        "Prompt": f"{usage.prompt:,} tokens" if usage.prompt else "",
        "Known already": f"{usage.cached:,} tokens" if usage.cached else "",
        "Context": f"{record.context:,} tokens" if record and record.context else "",
        "First token after": f"{timings.prompt:.2f} s" if timings.prompt else "",
        "Reading": speed(read, timings.prompt),
        "Reply": f"{usage.completion:,} tokens" if usage.completion else "",
        "Writing": speed(usage.completion, timings.completion),
        "Ended": message.reason,
    }
    return [(name, value) for name, value in found.items() if value]


def speed(tokens: int, seconds: float) -> str:
    """Nothing for a single token: it comes with the prompt, and engines time what follows."""
    return f"{tokens / seconds:,.1f} tokens/s" if tokens > 1 and seconds > 0 else ""


def sampling(record: Trace) -> list[tuple[str, str, str]]:
    """Each value that was set: its name, what it is, and where it comes from."""
    asked = record.request.sampling if record.request else None
    words = {ASKED: "as asked", MODE: "the mode"}
    rows: list[tuple[str, str, str]] = []
    for name in record.defaults.__struct_fields__:
        value = getattr(asked, name, UNSET)
        source = record.sources.get(name, "")
        if value is UNSET:
            value, source = getattr(record.defaults, name), "model"
            words["model"] = "the model's own default"
        if value is not UNSET:
            rows.append((name, shown(value), words.get(source) or called(source)))
    return rows


def rest(request: Request) -> list[tuple[str, str]]:
    """What else was asked of the engine."""
    seed = request.sampling.seed
    found = {
        "Seed": UNTOLD if seed in (UNSET, -1) else str(seed),
        "Continues a reply": "yes" if request.continue_ else "",
        "Adapters": ", ".join(f"{name} ({scale:g})" for name, scale in request.adapters),
        "Tools": f"{len(request.tools)}" if request.tools else "",
        "Processors": ", ".join(p.code.rpartition(":")[2] for p in request.processors),
        "Told to the template": shown(request.template_options) if request.template_options else "",
        "Template": "" if request.template else "the model's own",
    }
    return [(name, value) for name, value in found.items() if value]


def shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()
