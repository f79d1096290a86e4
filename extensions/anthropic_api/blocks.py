"""A reply as blocks of content, one after the other, and the events that tell of them."""

from typing import Any

import msgspec

from extensions.api_kit.api import CallPart, Calls
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
        self._calls, self._calling = Calls(), ToolUseBlock(id="", name="", input={})

    def hear(self, delta: Delta) -> bytes:
        """The events of a piece of the reply."""
        if delta.channel == "tool":
            return b"".join(map(self._call, self._calls.hear(delta.text)))
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
        elif self._open == "tool_use":  # Whole, or its reply was cut off.
            given = {} if self._calls.open else msgspec.Raw(text.encode())
            block = msgspec.structs.replace(self._calling, input=given)
        else:
            block = TextBlock(text=text)
        self._open, self._said = "", []
        return signed + self._stop(block)

    def _call(self, part: CallPart) -> bytes:
        """Some of a call."""
        told = b""
        if part.id:
            told, self._open, self._blank = self._close(), "tool_use", ""
            self._calling = ToolUseBlock(id=part.id, name=part.name, input={})
            told += self._start(self._calling)
        if part.arguments:
            self._said.append(part.arguments)
            told += self._piece("tool_use", part.arguments)
        if part.over:
            self.called = True
            told += self._close()
        return told

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
