"""A reply as blocks of content, one after the other, and the events that tell of them."""

from typing import Any

import msgspec

from extensions.api_kit.api import Called, calls_in
from kernel.api import Delta

from .answers import UNSIGNED, Event, TextBlock, ThinkingBlock, ToolUseBlock

DELTAS = {
    "text": b'"text_delta","text":',
    "thinking": b'"thinking_delta","thinking":',
    "signature": b'"signature_delta","signature":',
    "tool_use": b'"input_json_delta","partial_json":',
}


def event(data: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data.type.encode(), msgspec.json.encode(data))


class Blocks:
    """Deltas in, the bytes of events out; what they amount to is in `content`.

    Text that is blank before a call or a thought is no block. With `silent` thoughts are not shown.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.content: list[Any] = []
        self.called = False
        self._silent, self._open = silent, ""
        self._blank = ""
        self._said: list[str] = []

    def hear(self, delta: Delta) -> bytes:
        """The events of a piece of the reply."""
        if delta.channel == "tool":
            return b"".join(self._call(each) for each in calls_in(delta.text))
        if delta.channel == "reasoning":
            return self._say("thinking", delta.text)
        if self._open == "text":
            return self._say("text", delta.text)
        self._blank += delta.text
        return self._first_words() if self._blank.strip() else b""

    def end(self) -> bytes:
        """The events after the last piece."""
        worded = self.called or any(isinstance(each, TextBlock) for each in self.content)
        last = b"" if worded or self._open == "text" or not self._blank else self._first_words()
        return last + self._close()

    # --- inside ------------------------------------------------------------------------

    def _first_words(self) -> bytes:
        text, self._blank = self._blank, ""
        return self._say("text", text)

    def _say(self, kind: str, text: str) -> bytes:
        opening = b"" if self._open == kind else self._begin(kind)
        self._said.append(text)
        return opening + (b"" if self._silent and kind == "thinking" else self._piece(kind, text))

    def _begin(self, kind: str) -> bytes:
        closing, self._open = self._close(), kind
        block = TextBlock() if kind == "text" else ThinkingBlock()
        return closing + self._start(block)

    def _close(self) -> bytes:
        """The block is whole."""
        if not self._open:
            return b""
        text, signed = "".join(self._said), b""
        if self._open == "thinking":
            signed = self._piece("signature", UNSIGNED)
            shown = "" if self._silent else text
            block = ThinkingBlock(thinking=shown, signature=UNSIGNED)
        else:
            block = TextBlock(text=text)
        self._open, self._said = "", []
        return signed + self._stop(block)

    def _call(self, called: Called) -> bytes:
        closing = self._close()
        self.called, self._blank = True, ""
        block = ToolUseBlock(id=called.id, name=called.name, input={})
        opening = self._start(block) + self._piece("tool_use", called.arguments)
        given = msgspec.Raw(called.arguments.encode())
        whole = ToolUseBlock(id=called.id, name=called.name, input=given)
        return closing + opening + self._stop(whole)

    def _start(self, block: Any) -> bytes:
        return event(Event("content_block_start", index=len(self.content), content_block=block))

    def _piece(self, kind: str, text: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":%b%b}}\n\n'
        ) % (len(self.content), DELTAS[kind], msgspec.json.encode(text))

    def _stop(self, block: Any) -> bytes:
        last = event(Event("content_block_stop", index=len(self.content)))
        self.content.append(block)
        return last
