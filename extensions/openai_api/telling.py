"""A reply as a response: its items, and the events of each as it grows."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

from extensions.api_kit.api import CallPart, Calls, Fault, Run
from kernel.api import Delta, Part, Reasoning, Text, Token, ToolCall

from . import answers
from .asking import Ask
from .logprobs import told

Event = dict[str, Any]
KINDS = {"text": "message", "reasoning": "reasoning"}
PARTS = {"message": "output_text", "reasoning": "reasoning_text"}


class Telling:
    """Hears a reply, and answers with events; `response` is what has been made of it by now."""

    def __init__(self, ask: Ask, id: str, model: str) -> None:
        self._ask, self._number, self._blank = ask, 0, ""
        self._open: Event | None = None
        self._tokens: list[Token] = []
        self._thinking = 0
        self._pieces: list[str] = []
        self._calls = Calls()
        self.output: list[Event] = []
        self.response = blank(ask, id, model)

    def begin(self) -> Iterator[Event]:
        """The first events."""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=dict(self.response))

    def hear(self, delta: Delta) -> Iterator[Event]:
        """The events of a piece of the reply."""
        if delta.channel == "tool":
            for part in self._calls.hear(delta.text):
                yield from self._call(part)
            return
        text, kind = delta.text, KINDS[delta.channel]
        if not self._open or self._open["type"] != kind:
            self._blank += text
            if not self._blank.strip():
                return
            text, self._blank = self._blank, ""
            yield from self._close()
            yield from self._begin(kind)
        yield from self._say(text, delta.tokens)

    def end(self, run: Run) -> Iterator[Event]:
        """The last events, when it has ended."""
        if not self.output and not self._open:
            yield from self._begin("message")
        length = run.finish.reason == "length"
        status = "completed"
        if length or run.finish.reason == "cancelled":
            status = "incomplete" if length else "cancelled"
        whole = status == "completed" and not self._calls.open
        yield from self._close("completed" if whole else "incomplete")
        usage = answers.usage_of([run.finish])
        self.response |= {
            "status": status,
            "model": run.model or self.response["model"],
            "output": self.output,
            "incomplete_details": {"reason": "max_output_tokens"} if length else None,
            "completed_at": time.time() if status == "completed" else None,
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": usage.prompt_tokens_details.cached_tokens,
                    "cache_write_tokens": 0,
                },
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": self._thinking},
                "total_tokens": usage.total_tokens,
            },
        }
        name = "completed" if status == "completed" else "incomplete"
        yield self._event(f"response.{name}", response=self.response)

    def prepared(self) -> Iterator[Event]:
        """The last event, where nothing was to be written."""
        self.response |= {"status": "completed", "completed_at": time.time()}
        yield self._event("response.completed", response=self.response)

    def fail(self, fault: Fault) -> Iterator[Event]:
        """The last event, where it failed after it had begun."""
        yield from self._close("incomplete")
        error = {"code": "server_error", "message": fault.message}
        self.response |= {"status": "failed", "output": self.output, "error": error}
        yield self._event("response.failed", response=self.response)

    def items(self) -> dict[str, Part]:
        """What the model said, by the ids of its items, for who goes on with it."""
        parts: dict[str, Part] = {}
        for item in self.output:
            match item["type"]:
                case "message":
                    parts[item["id"]] = Text(item["content"][0]["text"])
                case "reasoning":
                    parts[item["id"]] = Reasoning(item["content"][0]["text"])
                case _ if item["status"] == "completed":
                    called = item["call_id"], item["name"], item["arguments"]
                    parts[item["id"]] = ToolCall(*called)
        return parts

    # --- inside ------------------------------------------------------------------------

    def _event(self, type: str, **fields: Any) -> Event:
        number, self._number = self._number, self._number + 1
        return {"type": type, "sequence_number": number, **fields}

    def _about(self, type: str, **fields: Any) -> Event:
        """An event of the open item's text."""
        assert self._open
        where = {"item_id": self._open["id"], "output_index": len(self.output), "content_index": 0}
        return self._event(type, **where, **fields)

    def _begin(self, kind: str) -> Iterator[Event]:
        """Open an item."""
        item: Event = {"type": kind, "status": "in_progress", "content": []}
        if kind == "message":
            item |= {"id": f"msg_{secrets.token_hex(12)}", "role": "assistant"}
        else:
            item |= {"id": f"rs_{secrets.token_hex(12)}", "summary": []}
        self._open, self._pieces, self._tokens = item, [], []
        yield self._event("response.output_item.added", output_index=len(self.output), item=item)
        yield self._about("response.content_part.added", part=part_of(kind, "", []))

    def _say(self, text: str, tokens: tuple[Token, ...]) -> Iterator[Event]:
        assert self._open
        self._pieces.append(text)
        if self._open["type"] == "reasoning":
            self._thinking += len(tokens)
            yield self._about("response.reasoning_text.delta", delta=text)
            return
        likely = self._likely(tokens)
        self._tokens += tokens
        yield self._about("response.output_text.delta", delta=text, logprobs=likely)

    def _close(self, status: str = "completed") -> Iterator[Event]:
        """End the open item, if one is."""
        if not (item := self._open):
            return
        kind, text = item["type"], "".join(self._pieces)
        if kind == "function_call":
            more = {"name": item["name"], "arguments": text}
            yield self._of_call("response.function_call_arguments.done", **more)
            done = {**item, "status": status, "arguments": text}
        else:
            likely = self._likely(self._tokens)
            part = part_of(kind, text, likely)
            more = {} if kind == "reasoning" else {"logprobs": likely}
            yield self._about(f"response.{PARTS[kind]}.done", text=text, **more)
            yield self._about("response.content_part.done", part=part)
            done = {**item, "status": status, "content": [part]}
        yield self._event("response.output_item.done", output_index=len(self.output), item=done)
        self._open = None
        self.output.append(done)

    def _call(self, part: CallPart) -> Iterator[Event]:
        """Some of a call."""
        if part.id:
            yield from self._close()
            self._blank, self._pieces = "", []
            self._open = item = {
                "id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": part.id,
                "name": part.name, "arguments": "", "status": "in_progress",
            }  # fmt: skip
            where = {"output_index": len(self.output)}
            yield self._event("response.output_item.added", item=item, **where)
        if part.arguments:
            self._pieces.append(part.arguments)
            kind = "response.function_call_arguments.delta"
            yield self._of_call(kind, delta=part.arguments)
        if part.over:
            yield from self._close()

    def _of_call(self, type: str, **fields: Any) -> Event:
        """An event of the open call's arguments."""
        assert self._open
        where = {"item_id": self._open["id"], "output_index": len(self.output)}
        return self._event(type, **where, **fields)

    def _likely(self, tokens: "list[Token] | tuple[Token, ...]") -> list[answers.TokenLogprob]:
        top = self._ask.wish.asked.logprobs
        return [] if top is None else told(tokens, top)


def part_of(kind: str, text: str, likely: list[answers.TokenLogprob]) -> Event:
    """The text of an item, as its part."""
    part: Event = {"type": PARTS[kind], "text": text}
    return part if kind == "reasoning" else {**part, "annotations": [], "logprobs": likely}


def blank(ask: Ask, id: str, model: str) -> Event:
    """A response of which nothing is written yet, with all that was asked."""
    body, sampling = ask.body, ask.said
    form = body.text.format if body.text and body.text.format else None
    format_ = {"type": "text"} if not form else {"type": form.type}
    if form and form.type == "json_schema":
        format_ |= {"name": form.name or "", "schema": form.schema, "strict": form.strict}
    thinking = body.reasoning
    return {
        "id": id,
        "object": "response",
        "created_at": time.time(),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": thinking.effort if thinking else None, "summary": None},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": sampling.get("temperature"),
        "text": {"format": format_},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_logprobs": body.top_logprobs,
        "top_p": sampling.get("top_p"),
        "truncation": body.truncation or "disabled",
    }
