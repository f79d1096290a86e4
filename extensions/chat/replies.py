"""Replies as they are written: a task each, owned by the server, so that no tab must stay open."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from msgspec import structs

from extensions.conversations.api import (
    Ended,
    Store,
    StoredMessage,
    StoreFailed,
    Unknown,
    is_secret,
)
from extensions.prompts.api import Prompts
from kernel.api import (
    Client,
    Conversation,
    Delta,
    Extension,
    Finish,
    Message,
    Refused,
    Reply,
    Text,
    Turn,
)

from . import impersonating
from .api import WATCHERS, Watcher
from .attempts import Attempts
from .drawing import Drawing
from .markdown import Markdown, plain
from .pages import Pages
from .running import Running
from .setup import Setups
from .sheet import Sheet
from .silence import silence
from .thoughts import Keeping, Places

log = logging.getLogger(__name__)

BUSY = "A reply is being written in this conversation. Stop it or wait for its end, then try again."
BROKEN = "Spindle failed at this reply; its log says how. Try again."
NOTHING = "The model has nothing to add."
PAUSE = 0.005
"""Seconds between two looks at a conversation that is held without a reply."""


class Replies:
    """All replies under way, at most one in a conversation."""

    def __init__(
        self,
        ext: Extension[Any],
        store: Store,
        markdown: Markdown,
        pages: Pages,
        running: dict[str, Running],
        prompts: Prompts,
        setups: Setups,
        sheet: Sheet,
    ) -> None:
        self.running = running
        self._prompts, self._setups, self._sheet = prompts, setups, sheet
        self._ext, self._store, self._markdown, self._pages = ext, store, markdown, pages
        self._kept = Keeping(store)

    def is_busy(self, conversation: str) -> bool:
        """Whether a reply is being written in it."""
        return conversation in self.running

    def refuse_if_busy(self, conversation: str) -> None:
        if self.is_busy(conversation):
            raise Refused(BUSY)

    @contextmanager
    def claimed(self, conversation: str, within: Running | None = None) -> Iterator[Running]:
        """Reserve the conversation for a reply that is begun inside; given back if it is not."""
        if self.running.get(conversation) is not within:
            raise Refused(BUSY)
        running = self.running[conversation] = Running(conversation, within)
        try:
            yield running
        except BaseException:
            self._over(running)
            raise

    @contextmanager
    def round(self, conversation: str) -> Iterator[Running]:
        """Reserve the conversation for several replies, one after the other."""
        self.refuse_if_busy(conversation)
        held = self.running[conversation] = Running(conversation)
        try:
            yield held
        finally:
            if self.running[conversation] is held:
                del self.running[conversation]
            else:  # The round ends before its reply, which goes on alone.
                self.running[conversation].within = None

    def _over(self, running: Running) -> None:
        """Free the conversation, or leave it to the round."""
        if running.within:
            self.running[running.conversation] = running.within
        else:
            del self.running[running.conversation]

    def _free(self, running: Running) -> None:
        """Free what a task left behind that was cancelled before its first step."""
        if self.running.get(running.conversation) is running:
            self._over(running)

    def _forsaken(self, running: Running, begun: StoredMessage, reply: Attempts) -> None:
        """End a reply whose task was cancelled before its first step, or before it kept the end."""
        self._free(running)
        if begun.id in self._store.running:
            text, raw = running.text + reply.text, running.raw + heard_of(reply)
            said = {"text": text, "raw": raw, "reasoning": running.reasoning + reply.reasoning}
            self._store.forsake(structs.replace(begun, **said))

    async def stop(self, conversation: str) -> None:
        """Stop what is being written, and wait until it is kept and nobody holds the conversation:
        it may be about to begin, or the last of a round."""
        while running := self.running.get(conversation):
            running.stop()
            if running.task and not running.task.done():
                await asyncio.wait({running.task})
            else:
                await asyncio.sleep(PAUSE)

    async def answer(
        self,
        running: Running,
        question: str,
        client: Client,
        go_on: str = "",
        name: str = "",
        speaker: str = "",
    ) -> None:
        """Begin a reply to the message `question`; with `go_on` it continues that reply.

        Who is called `name` speaks, or the character `speaker`; else who is next.
        """
        said = [m for m in await self._store.history(question) if _is_worth(m)]
        old = await self._store.message(go_on) if go_on else None
        setup = await self._setups.of(running.conversation)
        name = old.name if old else name
        who = await self._sheet.speaker(running.conversation, said, name, speaker)
        history = who.heard(said)
        asked = bool(history) and history[-1].role == "user"
        model = self._ext.slot().model
        options, start = structs.replace(who.of(setup.options), idle=silence(said)), ""
        if not old:
            start = await self._sheet.begins(running.conversation, who, len(said))
            options = structs.replace(options, start_reply_with=start)
        places = await self._kept.of(old) if old else ()
        begun = await self._store.begin_reply(  # From here on nothing waits: it must get its task.
            question,
            text=old.text if old else start,
            model=model.info.name if model else "",
            loader=model.info.loader if model else "",
            name=(old.name if old else "") or who.name,  # Its first words were said under that.
        )
        running.text, running.raw = (old.text, old.raw) if old else (start, start)
        running.reasoning = old.reasoning if old else ""
        running.places = Places(running.text, places)
        told = structs.replace(begun, reasoning=running.reasoning)
        running.drawing = Drawing(self._ext, told, self._markdown, places)
        running.message, running.go_on = begun.id, go_on
        turn = Turn(
            messages=tuple(history[-1:]) if asked and not old else (),
            conversation_id=running.conversation,
            principal=client.principal,
            client=client.id,
            continue_=bool(old),
            mode=setup.mode,
            options=msgspec.to_builtins(options),
            incognito=is_secret(running.conversation),
        )
        past = who.heard([*said, old]) if old else history[:-1] if asked else history
        first = Message("assistant", (Text(start),), who.name if who.character else "", begun.id)
        attempts = running.reply = Attempts(
            self._ext,
            turn,
            past,
            past[-1] if old else first,
            setup.options.chat_generation_attempts,
            record=bool(self._ext.get(WATCHERS)),
        )
        work = self._write(running, running.drawing, attempts)
        running.task = self._ext.spawn(work, f"reply {begun.id}")
        running.task.add_done_callback(lambda _: self._forsaken(running, begun, attempts))

    async def impersonate(self, running: Running, client: Client, text: str) -> None:
        """Begin to write the user's next message."""
        running.impersonates = True
        kept = await self._store.conversation(running.conversation)
        said = [m for m in await self._store.history(kept.leaf) if _is_worth(m)]
        setup = await self._setups.of(running.conversation)
        name = next((m.name for m in reversed(said) if m.role == "assistant"), "")
        try:
            who = await self._sheet.speaker(running.conversation, said, name)
        except Refused:  # Who spoke last is not here any more: who is next hears the user as well.
            who = await self._sheet.speaker(running.conversation, said)
        history = who.heard(said)
        options = structs.replace(who.of(setup.options), idle=silence(said))
        setup = structs.replace(setup, options=options)
        turn = impersonating.turn_of(running, setup, client, text)
        work = impersonating.write(
            self._ext, self._pages, self._prompts, running, client, turn, history, self.running
        )
        running.task = self._ext.spawn(work, f"impersonating {client.id}")
        running.task.add_done_callback(lambda _: self._free(running))

    # --- inside ------------------------------------------------------------------------

    async def _write(self, running: Running, drawing: Drawing, reply: Attempts) -> None:
        def save() -> None:
            said = running.text + reply.text, running.raw + heard_of(reply)
            self._store.grow(running.message, *said, running.reasoning + reply.reasoning)

        async def heard() -> AsyncIterator[Delta]:
            async for delta in reply:
                running.places.hear(delta)
                yield delta

        failed, drawn = None, set[asyncio.Task[None]]()
        ended: StoredMessage | None = None
        html = ""
        try:
            try:
                drawn.add(self._ext.spawn(drawing.draw(save), f"drawing {running.message}"))
                if not running.stopped:
                    async for delta in self._ext.display(heard(), reply.turn):
                        drawing.hear(delta)
            except asyncio.CancelledError:
                failed = Finish("cancelled", error=self._ext.why)
            except Exception:
                log.exception("A reply could not be shown")
                reply.cancel()
                failed = Finish("error", error=BROKEN)
            drawing.end()  # What was said is kept first: nothing that comes after may lose it.
            ended = await self._keep(running, reply, failed or reply.finish or Finish("cancelled"))
            if drawn:
                await asyncio.wait(drawn)
            html = await self._drawn(drawing, running.text + reply.text)
        finally:
            self._over(running)
        if ended:
            for watcher in self._ext.get(WATCHERS):  # Whom the page does not wait for.
                self._ext.spawn(_tell(watcher, ended, reply.first), f"watching {ended.id}")
            await self._pages.tell_ended(ended, html)
        else:
            with suppress(Unknown):  # Its conversation may be gone, too.
                await self._pages.tell_log(running.conversation)

    async def _drawn(self, drawing: Drawing, text: str) -> str:
        """The whole reply as HTML, or its words as they are."""
        try:
            return await drawing.finish()
        except Exception:
            log.exception("A reply could not be drawn")
            return plain(text)

    async def _keep(
        self, running: Running, reply: Attempts, finish: Finish
    ) -> StoredMessage | None:
        """Store the end; the store holds on to what the disk does not take. None: it is gone."""
        model, page = self._ext.slot().model, Conversation(running.conversation)
        left_out = self._prompts.left_out(running.conversation)
        first = left_out.first  # More may stand before it than a model is ever given.
        unseen = left_out.messages
        if first:
            with suppress(StoreFailed, Unknown):  # It only counts; the words come first.
                unseen = await self._store.above(first)
        states: dict[str, Ended] = {"cancelled": "stopped", "error": "error"}
        state = states.get(finish.reason, "done")
        raw = heard_of(reply) if state == "stopped" else reply.raw
        try:
            ended = await self._store.finish(
                running.message,
                state,
                running.text + reply.text,
                running.raw + raw,
                running.reasoning + reply.reasoning,
                error=finish.error,
                usage=finish.usage,
                timings=finish.timings,
                model=reply.model,
                loader=model.info.loader if model and model.info.name == reply.model else "",
                reason=finish.reason,
                left_out=unseen,
                cut=left_out.cut,
                sampling=reply.request.sampling if reply.request else None,
            )
            await self._kept.keep(ended, running.places.all())
            if reply.turn.continue_ and not reply.raw and state == "done":
                await self._store.show_message(running.go_on)  # Deleting shows the nearest version.
                await self._store.delete_message(running.message)
                self._ext.tell(NOTHING, page)
                return None
            if reply.request:
                await self._pages.tell_unseen(running.conversation, first)
            return ended
        except Unknown:  # It was deleted while it was written.
            return None
        except StoreFailed as error:
            self._ext.tell(str(error), page, "error")
            return await self._store.message(running.message)


async def _tell(watcher: Watcher, ended: StoredMessage, reply: Reply) -> None:
    try:
        await watcher(ended, reply)
    except Exception:
        log.exception("A reply could not be looked at")


def _is_worth(message: StoredMessage) -> bool:
    """Whether a model should see it again: a reply that failed at once says nothing."""
    return message.role != "assistant" or bool(message.raw)


def heard_of(reply: Attempts) -> str:
    """The engine's words as far as they were shown. What a modifier still holds back, as one that
    slows a reply does, is not said yet: a reply that ends here goes on after what was shown."""
    raw, text, thoughts = reply.raw, reply.text, reply.reasoning
    if not text:
        return raw if thoughts else ""
    at = raw.find(text, len(thoughts))  # Which stand before it there, with their marks.
    return raw[: at + len(text)] if at >= 0 else raw
