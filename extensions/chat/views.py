"""What the chat's templates show.

The contexts are made in one step of the event loop from what is known then; only `open` waits.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from extensions.conversations.api import Conversation as Kept
from extensions.conversations.api import Opened, Store, StoredMessage
from kernel.api import UNSET, Extension

from .markdown import Markdown
from .running import Running

SHOWN = 100
"""Messages of a conversation that a page is sent."""
REMEMBERED = 1000
"""Rendered replies that are kept in memory."""

EXAMPLES = ("What is Spindle?", "How do I load a bigger model?", "What is a GGUF file?")
UNANSWERED = "This message has no reply."
PARAMETERS = (("temperature", "the model's own"), ("max_new_tokens", ""), ("seed", "random"))


class Views:
    """Contexts of the templates; each template's first lines say what is in them."""

    def __init__(
        self,
        ext: Extension[Any],
        store: Store,
        markdown: Markdown,
        running: Mapping[str, Running],
    ) -> None:
        self.listed: Sequence[Kept] = ()
        """The conversations at the side."""
        self._ext, self._store, self._markdown, self._running = ext, store, markdown, running
        self._html: OrderedDict[str, str] = OrderedDict()

    async def open(self, id: str) -> Opened:
        """A conversation, when all of its replies are rendered: showing it then takes no time."""
        while True:
            opened = await self._store.get(id, SHOWN)
            missing = [m for m in opened.messages if m.state != "running" and not self._known(m)]
            if not missing:
                return opened
            for message in missing:
                html = await self._ext.thread(self._markdown.render, message.text)
                self.remember(message.id, html)

    def remember(self, id: str, html: str) -> None:
        """How an ended reply looks; its words never change."""
        self._html[id] = html
        if len(self._html) > REMEMBERED:
            self._html.popitem(last=False)

    def _known(self, message: StoredMessage) -> bool:
        return message.role != "assistant" or message.id in self._html

    # --- contexts ----------------------------------------------------------------------

    def panel(self, opened: Opened | None) -> dict[str, Any]:
        return {
            **self.composer(opened.conversation.id if opened else ""),
            "conversation": opened.conversation if opened else None,
            "groups": self.groups(),
            "messages": self.messages(opened) if opened else [],
            "examples": EXAMPLES,
        }

    def composer(self, id: str, errors: Mapping[str, str] | None = None) -> dict[str, Any]:
        return {**self.go(id), "model": self.model(), "parameters": self._parameters(errors)}

    def go(self, id: str) -> dict[str, Any]:
        return {"conversation": {"id": id} if id else None, "busy": id in self._running}

    def groups(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The conversations under headings: today, yesterday, then months."""
        today = date.today()
        groups: dict[str, list[dict[str, Any]]] = {}
        for kept in self.listed:
            day = date.fromtimestamp(kept.updated)
            month = day.strftime("%B" if day.year == today.year else "%B %Y")
            label = {0: "Today", 1: "Yesterday"}.get((today - day).days, month)
            busy = kept.id in self._running
            groups.setdefault(label, []).append({"id": kept.id, "title": kept.title, "busy": busy})
        return [*groups.items()]

    def messages(self, opened: Opened) -> list[dict[str, Any]]:
        last = opened.messages[-1].id if opened.messages else ""
        return [self.message(message, last=message.id == last) for message in opened.messages]

    def message(self, message: StoredMessage, *, last: bool) -> dict[str, Any]:
        running = self._running.get(message.conversation)
        unanswered = last and message.role == "user" and not running
        streaming = False
        if running and running.message == message.id:
            streaming = True
            closed, open_, thought = running.closed, running.open, running.thought
        else:
            closed, open_ = self._html.get(message.id, ""), ""
            thought = str(escape(message.reasoning))
        return {
            "id": message.id,
            "role": message.role,
            "name": message.model,
            "text": message.text,
            "closed": Markup(closed),
            "open": Markup(open_),
            "thought": Markup(thought),
            "streaming": streaming,
            "note": note(message),
            "error": UNANSWERED if unanswered else message.error,
            "version": message.number,
            "versions": message.versions,
            "tokens": message.usage.completion,
            "seconds": message.timings.prompt + message.timings.completion or None,
            "last": last,
        }

    def model(self) -> dict[str, Any]:
        state = self._ext.slot().state
        path = Path(state.info.path if state.info else "")
        return {
            "name": state.info.name if state.info else state.name,
            "state": state.state,
            "guide": "guide" in (path.name, path.parent.name),
            "fraction": state.fraction or None,
            "note": state.note,
            "error": state.error,
        }

    def _parameters(self, errors: Mapping[str, str] | None) -> dict[str, Any]:
        settings = self._ext.settings
        standard = type(settings)()
        shown: dict[str, Any] = {"errors": errors or {}, "defaults": {}}
        for name, unset in PARAMETERS:
            value, default = getattr(settings, name), getattr(standard, name)
            shown[name] = "" if value == default else str(value)
            shown["defaults"][name] = unset if default is UNSET else str(default)
        return shown


def note(message: StoredMessage) -> str:
    """A quiet sentence below a reply that did not come to its own end."""
    limit = message.sampling.max_new_tokens
    if message.state == "stopped" and not message.error:
        return "Stopped."
    if message.state == "done" and limit is not UNSET and message.usage.completion >= limit:
        return f"Cut off at {limit:,} tokens, the most a reply may have. Continue goes on."
    return ""
