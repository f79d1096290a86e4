"""A conversation that is longer than the model's context: its oldest messages are left out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from msgspec import structs

from kernel.api import (
    UNSET,
    Conversation,
    Extension,
    Message,
    ModelInfo,
    Refused,
    Request,
    Sampling,
    Text,
    Turn,
)

from .counting import Counting
from .options import Options

Build = Callable[[Sequence[Message]], Awaitable[Request]]
"""Makes a mode's request of the messages that are kept."""
WIDEST = 16
"""Bytes of a token, on average over a prompt, at the very most: what is longer is not counted."""
KEPT = 75
"""Percent of the room that is used after something was left out: the next turns then begin with
the same words, which the engine has read already."""
CUT = (
    "Your message is longer than the model's context has room for. It reads the beginning; the last"
    " {:,} characters are left out. Shorten it, or load the model with more context."
)
CUT_REPLY = (
    "The last reply is longer than the model's context has room for. It reads the end; the first"
    " {:,} characters are left out. Shorten it, or load the model with more context."
)
TOO_LONG = (
    "The prompt does not fit into the model's context even without the conversation. Shorten the"
    " system message or the character, lower max_new_tokens, or load the model with more context."
)
PICTURES = (
    "The pictures of your message take {:,} tokens, and the model's context has room for {:,}. "
    "Send fewer of them, or load the model with more context."
)


class LeftOut(NamedTuple):
    """What the model does not see of a conversation, since its context is full."""

    messages: int = 0
    first: str = ""
    """The id of the first message that it does see."""
    cut: int = 0
    """Characters at the end of the user's message that it does not see either."""


class Short(NamedTuple):
    """A request with the user's message cut at its end, or the last reply at its beginning."""

    request: Request
    unread: int
    """Characters of it that are left out."""
    told: str = CUT
    """What is said of it."""
    gone: int = 0
    """How many messages before the reply are left out, too."""


class Fitting:
    """Leaves out what no longer fits, and remembers what that was."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext
        self._left_out: dict[str, LeftOut] = {}
        self._first: dict[str, str] = {}
        """What the last prompt of each conversation began with, after something was left out."""

    def left_out(self, conversation: str) -> LeftOut:
        """What the last turn of a conversation did without."""
        return self._left_out.pop(conversation, LeftOut())

    async def fitted(
        self,
        turn: Turn,
        messages: Sequence[Message],
        build: Build,
        *,
        turns: bool,
        inserted: str = "",
    ) -> Request:
        """The request of as much as fits; raises Refused when nothing does.

        Messages go from the oldest on, whole ones, and with `turns` the reply together with its
        question; never the system message or the last user's, which is cut at its end when it
        alone is too long. Where others spoke after the user, as in a group, the user's may go too,
        and of a last reply that alone is too long the end stays; so it does of a reply that goes on
        and is longer than its question. What has the id `inserted` is none of the conversation's,
        and stays: above what is left of it, if that is less than it stood in. Only for the
        conversations of pages, and for programs that ask for it (`truncation`), whose last message
        is not cut: others say themselves what they want left out.
        """
        slot = self._ext.slot(turn.slot)
        while slot.state.state == "loading":
            await slot.wait()
        wanted = turn.conversation_id or Options.of(turn).truncation == "auto"
        if not wanted or not slot.model or not slot.model.info.context_length:
            return await build(messages)
        counting, room = Counting(slot.model), room_of(slot.model.info, turn.sampling)
        head = [*messages[: messages[0].role == "system"]] if messages else []
        rest = messages[len(head) :]
        roles = [stands_as(message, inserted) for message in rest]
        cuts = within(rest, room * WIDEST, places(roles, turns=turns))

        def above(cut: int) -> list[Message]:
            return [*head, *those_inserted(rest[:cut], inserted)]

        async def with_cut(cut: int) -> tuple[Request, int]:
            request = await build([*above(cut), *rest[cut:]])
            return request, await counting.tokens(request)

        if not cuts[0]:
            request = await build(messages)
            if await counting.at_most(request) < room // 2:
                return request
            if await counting.tokens(request) <= room:
                return request
        first = self._first.get(turn.conversation_id or "", "")
        begun = next((n for n in cuts if n and first and rest[n].id == first), 0)
        if begun:
            request, many = await with_cut(begun)
            if many <= room:
                return self._keep(turn, rest, roles, begun, request)
        low, high, lean = int(not cuts[0]), len(cuts) - 1, room * KEPT // 100
        while low < high:  # The fewest messages without which it fits, with room for more.
            middle = (low + high) // 2
            if (await with_cut(cuts[middle]))[1] <= lean:
                high = middle
            else:
                low = middle + 1
        cut = cuts[min(low, len(cuts) - 1)]
        request, many = await with_cut(cut)
        if not turn.conversation_id:
            return request
        unread = 0
        if many > room:
            how, left = {"turns": turns, "inserted": inserted}, rest[cut:]
            short = await self._shortened(counting, room, above(cut), left, build, **how)
            if not short:  # The template's words take the room: a short reply is more than none.
                wide = widest_of(slot.model.info, turn.sampling)
                short = await self._shortened(counting, wide, above(cut), left, build, **how)
            if not short:
                user = [message for message in left if message.role == "user"]
                seen = await counting.pictures(user[-1:])
                raise Refused(PICTURES.format(seen, room) if seen > room // 2 else TOO_LONG)
            request, cut = short.request, cut + short.gone
            unread = short.unread if short.told == CUT else 0
            if short.unread:
                told = short.told.format(short.unread)
                self._ext.tell(told, Conversation(turn.conversation_id), "error")
        return self._keep(turn, rest, roles, cut, request, unread)

    # --- inside ------------------------------------------------------------------------

    def _keep(
        self,
        turn: Turn,
        rest: Sequence[Message],
        roles: Sequence[str],
        cut: int,
        request: Request,
        unread: int = 0,
    ) -> Request:
        assert turn.conversation_id
        gone = sum(role in ("user", "assistant") for role in roles[:cut])
        first = next((m.id for m, role in zip(rest[cut:], roles[cut:], strict=True) if role), "")
        if gone or unread:
            seen = first if gone else ""
            self._left_out[turn.conversation_id] = LeftOut(gone, seen, unread)
        if gone:
            self._first[turn.conversation_id] = first
        return request

    async def _shortened(
        self,
        counting: Counting,
        room: int,
        head: Sequence[Message],
        rest: Sequence[Message],
        build: Build,
        *,
        turns: bool,
        inserted: str,
    ) -> Short | None:
        """With as much of the user's message as fits; or, where not even a letter of that does,
        with the end of the reply after it; nothing where that does not fit either. A reply that
        goes on gives way to its question where it is the longer one, as long as more is left of it
        than the question has."""
        place = {stands_as(message, inserted): n for n, message in enumerate(rest)}
        user, reply = place.get("user", -1), place.get("assistant", -1)
        goes_on = 0 <= user < reply == len(rest) - 1
        longer = goes_on and len(rest[reply].text) > len(rest[user].text)

        async def with_first(many: int) -> Request:
            shorter = with_text(rest[user], rest[user].text[:many])
            return await build([*head, *rest[:user], shorter, *rest[user + 1 :]])

        async def with_end(many: int, before: Sequence[Message]) -> Request:
            text = rest[reply].text
            end = with_text(rest[reply], text[len(text) - many :])
            return await build([*head, *before, end, *rest[reply + 1 :]])

        async def ended(before: Sequence[Message], gone: int) -> Short | None:
            def some(many: int) -> Awaitable[Request]:
                return with_end(many, before)

            text = rest[reply].text
            many = await fitting(some, text)
            return Short(await some(many), len(text) - many, CUT_REPLY, gone) if many else None

        async def fitting(some: Callable[[int], Awaitable[Request]], text: str) -> int:
            """Characters of a text with which it fits, by halves."""
            low, high = 0, min(len(text), room * WIDEST)
            while low < high:
                middle = (low + high + 1) // 2
                if await counting.tokens(await some(middle)) <= room:
                    low = middle
                else:
                    high = middle - 1
            return low

        if longer and (short := await ended(rest[:reply], 0)):
            kept = len(rest[reply].text) - short.unread
            if kept >= len(rest[user].text):
                return short  # Else it would hardly know what it goes on with.
        if user >= 0 and (many := await fitting(with_first, rest[user].text)):
            return Short(await with_first(many), len(rest[user].text) - many)
        if reply >= 0 and (goes_on or not turns):
            return await ended(those_inserted(rest[:reply], inserted), reply)
        return None


def stands_as(message: Message, inserted: str) -> str:
    """Its role in the conversation; of what is put into that, none."""
    return "" if inserted and message.id == inserted else message.role


def those_inserted(messages: Sequence[Message], inserted: str) -> list[Message]:
    return [message for message in messages if not stands_as(message, inserted)]


def with_text(message: Message, text: str) -> Message:
    """A message with other words beside its pictures."""
    others = [part for part in message.parts if not isinstance(part, Text)]
    return structs.replace(message, parts=(*others, Text(text)))


def room_of(info: ModelInfo, sampling: Sampling) -> int:
    """Tokens for a prompt: the context without what the reply may take, but never less than half
    of it; where the reply has no limit a quarter is left to it."""
    context = context_of(info, sampling)
    limit = context // 4 if sampling.max_new_tokens is UNSET else sampling.max_new_tokens
    return max(context - limit, context // 2)


def widest_of(info: ModelInfo, sampling: Sampling) -> int:
    """Tokens for a prompt that does not fit otherwise: a quarter is left to the reply."""
    return context_of(info, sampling) * 3 // 4


def context_of(info: ModelInfo, sampling: Sampling) -> int:
    if sampling.truncation_length is UNSET:
        return info.context_length
    return min(info.context_length, sampling.truncation_length)


def places(roles: Sequence[str], *, turns: bool) -> list[int]:
    """Where one may begin: with `turns` at a user's message that follows no other one, else at any
    message but a tool's, up to the user's last, or to the last of several replies after it."""
    if turns:
        more = [n for n in range(1, len(roles)) if roles[n] == "user" != roles[n - 1]]
    else:
        last = max((n for n, role in enumerate(roles) if role == "user"), default=0)
        replies = [n for n, role in enumerate(roles) if n > last and role == "assistant"]
        last = replies[-1] if len(replies) > 1 else last
        more = [n for n in range(1, last + 1) if roles[n] != "tool"]
    return [0, *more]


def within(messages: Sequence[Message], most: int, places: Sequence[int]) -> list[int]:
    """The places after which at most so many bytes follow; at least the last one."""
    total = 0
    before = [0]
    for message in messages:
        before.append(total := total + len(message.text.encode()))
    return [n for n in places if total - before[n] <= most] or [*places[-1:]]
