"""What the chat's templates show.

The contexts are made in one step of the event loop from what is known then; only `open` waits.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from extensions.conversations.api import Conversation as Kept
from extensions.conversations.api import Opened, Store, StoredMessage, is_secret
from extensions.prompts.api import Face
from kernel.api import PANELS, UNSET, Conversation, Extension

from .enclosing import Enclosures
from .markdown import Markdown, plain
from .running import Running
from .sheet import Sheet
from .thoughts import Keeping, whole

SHOWN = 100
"""Messages of a conversation that a page is sent."""
RUSH = 1.0
"""Seconds in which the markdown of a conversation is read before it is shown."""
REMEMBERED = 1000
"""Rendered replies that are kept in memory."""

EXAMPLES = ("What is Spindle?", "How do I get a bigger model?", "What is a GGUF file?")
CONTEXT = "into the model's context"
UNREAD = "The model read the beginning of this message: the last {:,} characters did not fit {}."
READ = "It read the beginning of your message: the last {:,} characters did not fit {}."
FULL = "Cut off where the model's context ends. Load the model with a larger one to go on."
UNANSWERED = "This message has no reply."


class About(NamedTuple):
    """What is shown with messages of a conversation, and is not theirs."""

    faces: Mapping[str, Face]
    """Its characters by their names; who begins it comes first."""
    personas: Mapping[str, Face] = {}
    """As whom the user may speak, by their names; who that is now comes first."""
    unseen: str = ""
    """The first message that the model saw last, where it no longer sees all."""


class Views:
    """Contexts of the templates; each template's first lines say what is in them."""

    def __init__(
        self,
        ext: Extension[Any],
        store: Store,
        markdown: Markdown,
        running: Mapping[str, Running],
        sheet: Sheet,
        enclosures: Enclosures,
    ) -> None:
        self._sheet, self._enclosures = sheet, enclosures
        self._about: OrderedDict[str, About] = OrderedDict()
        self._ext, self._store, self._markdown, self._running = ext, store, markdown, running
        self._kept = Keeping(store)
        self._html: OrderedDict[str, str] = OrderedDict()
        self._keys: OrderedDict[str, str] = OrderedDict()
        """By message, the idempotency key with which a page sent it."""
        self._beside: OrderedDict[str, list[Markup]] = OrderedDict()
        """What other extensions show below a message."""

    async def open(self, id: str, before: str = "", around: str = "", after: str = "") -> Opened:
        """A conversation, when all that is shown of it is at hand: showing it takes no time then.

        Its last messages, or those before, around or after a message.
        """
        await self.look(id)
        seen: set[str] = set()
        shared = self._shared()
        while True:
            opened = await (
                self._store.after(id, after, SHOWN)
                if after
                else self._store.get(id, SHOWN, before, around)
            )
            missing = [m for m in opened.messages if m.state != "running" and not self._known(m)]
            others = [m.id for m in opened.messages if shared and m.id not in seen]
            if not missing and not others:
                return opened
            await self._read(missing)
            for message in others:
                await self.ask_others(message)
            seen.update(others)

    async def _read(self, messages: Sequence[StoredMessage]) -> None:
        """Make HTML of them, the newest first; what would take too long is shown as it was written
        at first."""
        if messages:
            await self._ext.thread(self._markdown.prepare)
        until, later = time.monotonic() + RUSH, list[StoredMessage]()
        for message in reversed(messages):
            if time.monotonic() > until:
                self.remember(message.id, plain(message.text))
                later.append(message)
                continue
            html = await self._read_one(message)
            if not self._known(message):  # Else its reply told meanwhile how a page has it.
                self.remember(message.id, html)
        if later:
            self._ext.spawn(self._read_rest(later), "markdown")

    async def _read_rest(self, messages: Sequence[StoredMessage]) -> None:
        """Pages get each when it is read; what is not in the end is read when it is shown again."""
        left = [*messages]
        try:
            while left and left[0].id in self._html:  # They were not forgotten meanwhile.
                html = await self._read_one(left[0])
                self._tell_read(left.pop(0), html)
        finally:
            for message in left:
                self._html.pop(message.id, None)

    def _tell_read(self, message: StoredMessage, html: str) -> None:
        if self._html.get(message.id) != plain(message.text):  # It was forgotten, or is told.
            return
        self.remember(message.id, html)
        place = f'<div id="chat-m{message.id}-closed" hx-swap-oob="innerHTML">'
        self._ext.push_html(f"{place}{html}</div>", Conversation(message.conversation))

    async def _read_one(self, message: StoredMessage) -> str:
        places = await self._kept.of(message)
        return await self._ext.thread(whole, self._ext, self._markdown, message, places)

    async def look(self, id: str) -> About:
        """Look up what is shown with the messages of a conversation."""
        faces, unseen = await self._sheet.faces(id), await self._store.state(id, "chat", "unseen")
        personas = await self._sheet.personas(id)
        about = self._about[id] = About(by_name(faces), by_name(personas), unseen or "")
        self._about.move_to_end(id)
        if len(self._about) > REMEMBERED:
            self._about.popitem(last=False)
        return about

    async def ask_others(self, message: str) -> None:
        """Ask other extensions what they show below a message now."""
        if not self._shared():
            return
        self._beside[message] = await self._ext.panels("message_footer", None, message)
        self._beside.move_to_end(message)
        if len(self._beside) > REMEMBERED:
            self._beside.popitem(last=False)

    def forget_others(self) -> None:
        """Other extensions show other things than before."""
        self._beside.clear()

    def _shared(self) -> bool:
        """Whether another extension shows something with every message."""
        if not any(panel.region == "message_footer" for panel in self._ext.get(PANELS)):
            self._beside.clear()
            return False
        return True

    def remember(self, id: str, html: str) -> None:
        """How an ended reply looks; its words never change."""
        self._html[id] = html
        if len(self._html) > REMEMBERED:
            self._html.popitem(last=False)

    def sent(self, id: str, key: str) -> None:
        """By which key the page that sent a message knows it as its own."""
        self._keys[id] = key
        if len(self._keys) > REMEMBERED:
            self._keys.popitem(last=False)

    def forget(self) -> None:
        """Other messages than before may bear the same ids."""
        self._keys.clear()
        self._html.clear()
        self._beside.clear()

    def _known(self, message: StoredMessage) -> bool:
        return message.role != "assistant" or message.id in self._html

    # --- contexts ----------------------------------------------------------------------

    def panel(self, opened: Opened | None) -> dict[str, Any]:
        return {
            **self.composer(opened.conversation.id if opened else ""),
            "conversation": opened.conversation if opened else None,
            "earlier": opened.earlier if opened else False,
            "later": opened.later if opened else False,
            "messages": self.messages(opened) if opened else [],
            "examples": EXAMPLES,
        }

    def composer(self, id: str) -> dict[str, Any]:
        return {**self.go(id), "model": self.model()}

    def go(self, id: str) -> dict[str, Any]:
        conversation = {"id": id, "incognito": is_secret(id)} if id else None
        running = self._running.get(id)
        impersonates = bool(running and running.impersonates)
        return {"conversation": conversation, "busy": bool(running), "impersonates": impersonates}

    def groups(self, listed: Iterable[Kept]) -> list[tuple[str, list[dict[str, Any]]]]:
        """The conversations under headings: today, yesterday, then months."""
        today = date.today()
        groups: dict[str, list[dict[str, Any]]] = {}
        for kept in listed:
            day = date.fromtimestamp(kept.updated)
            month = day.strftime("%B" if day.year == today.year else "%B %Y")
            label = {0: "Today", 1: "Yesterday"}.get((today - day).days, month)
            groups.setdefault(label, []).append(self.item(kept))
        return [*groups.items()]

    def item(self, kept: Kept) -> dict[str, Any]:
        """A conversation as a row of the list at the side."""
        busy = kept.id in self._running
        return {
            "id": kept.id,
            "title": kept.title,
            "busy": busy,
            "incognito": kept.incognito,
            "tags": kept.tags,
        }

    def messages(self, opened: Opened) -> list[dict[str, Any]]:
        """The contexts of messages."""
        last = opened.messages[-1].id if opened.messages and not opened.later else ""
        unread = unread_of(opened.messages)
        return [
            self.message(message, last=message.id == last, unread=unread.get(message.id, 0))
            for message in opened.messages
        ]

    def earlier(self, opened: Opened) -> dict[str, Any]:
        """Messages that stand before others."""
        unread = unread_of(opened.messages)
        messages = [
            self.message(message, last=False, unread=unread.get(message.id, 0))
            for message in opened.messages
        ]
        conversation = {"id": opened.conversation.id}
        return {"messages": messages, "earlier": opened.earlier, "conversation": conversation}

    def message(self, message: StoredMessage, *, last: bool, unread: int = 0) -> dict[str, Any]:
        """The context of one; of the user's, `unread` characters were not seen by the model."""
        running = self._running.get(message.conversation)
        faces, personas, unseen = self._about.get(message.conversation, About({}))
        who = personas if message.role == "user" else faces
        name = message.name or next(iter(who), "")
        face = who.get(name)
        unanswered = last and message.role == "user" and not running
        streaming = False
        if running and running.message == message.id:
            streaming = True
            closed, open_ = running.closed, running.open
        else:
            closed, open_ = self._html.get(message.id, ""), ""
        return {
            "id": message.id,
            "role": message.role,
            "name": name or message.model,
            "model": message.model if name else "",
            "once": self._keys.get(message.id, ""),
            "moment": moment(message.created),
            "picture": face.picture if face else "",
            "asked": bool(message.parent),
            "unseen_above": message.id == unseen,
            "text": message.text,
            "enclosed": self._enclosures.shown(message),
            "closed": Markup(closed),
            "open": Markup(open_),
            "streaming": streaming,
            "note": UNREAD.format(unread, CONTEXT) if unread else note(message),
            "error": message.error or (UNANSWERED if unanswered else ""),
            "unanswered": unanswered and not message.error,
            "version": message.number,
            "versions": message.versions,
            "tokens": message.usage.completion,
            "prompt": message.usage.prompt,
            "cached": message.usage.cached,
            "seconds": message.timings.prompt + message.timings.completion or None,
            "last": last,
            "footer": self._beside.get(message.id, ()),
        }

    def model(self) -> dict[str, Any]:
        state = self._ext.slot().state
        path = Path(state.info.path if state.info else state.name)
        return {
            "name": state.info.name if state.info else state.name,
            "state": state.state,
            "guide": "guide" in (path.name, path.parent.name),
            "fraction": state.fraction or None,
            "note": state.note,
            "error": state.error,
        }


def by_name(faces: Sequence[Face]) -> Mapping[str, Face]:
    """The first of each name, in their order."""
    found = dict[str, Face]()
    for face in faces:
        found.setdefault(face.name, face)
    return found


def unread_of(messages: Iterable[StoredMessage]) -> dict[str, int]:
    """The user's messages of which a reply did not see all: how many characters it did not."""
    found, asked = dict[str, int](), ""
    for message in messages:
        if message.role == "user":
            asked = message.id
        elif message.cut and asked:
            found.setdefault(asked, message.cut)
    return found


def moment(seconds: float) -> Mapping[str, str]:
    """When that was: as a page shows it, in full, and as programs write it; nothing for 0."""
    if not seconds:
        return {}
    at = datetime.fromtimestamp(seconds)
    day = f"{at.day} {at:%B %Y}"
    short = f"{at:%H:%M}" if at.date() == date.today() else f"{at.day} {at:%b}, {at:%H:%M}"
    return {"short": short, "full": f"{day}, {at:%H:%M:%S}", "iso": at.isoformat("T", "seconds")}


def note(message: StoredMessage) -> str:
    """Quiet sentences below a reply that did not come to its own end, or did not see it all."""
    notes: list[str] = []
    if message.left_out == 1:
        notes.append(f"The first message no longer fits {CONTEXT}.")
    elif message.left_out:
        notes.append(f"The first {message.left_out:,} messages no longer fit {CONTEXT}.")
    if message.cut:
        notes.append(READ.format(message.cut, CONTEXT))
    limit = message.sampling.max_new_tokens
    full = limit is not UNSET and message.usage.completion >= limit
    if message.state == "stopped" and not message.error:
        notes.append("Stopped.")
    elif message.state == "done" and full and message.reason in ("length", ""):
        notes.append(f"Cut off at {limit:,} tokens, the most a reply may have. Continue goes on.")
    elif message.reason == "length":
        notes.append(FULL)
    return " ".join(notes)
