"""Chat templates: a conversation becomes the text that a model was trained to continue."""

import json
import subprocess
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from extensions.engine_kit.thinking import PAIRS, begun
from kernel.contract import Message, Reasoning, Refused, Request, ToolCall, ToolResult

SECONDS, COLD = 2.0, 30.0
"""What a template may take; real ones take a thousandth of that."""
HERE = "spindle-goes-on-here-5b1f "
"""Put at the end of the message that is to be continued, and cut off together with the rest; its
last space tells whether the template strips messages, so that the one here is to be, too."""
WRITTEN = (*PAIRS, "<|channel|>")
"""What a reply has that thinks."""
THOUGHTS = ("reasoning_content", "thinking")
"""Names by which templates read what was thought."""
DEFAULT = """\
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content }}

{% else %}
{{ message.role | capitalize }}: {{ message.content }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
Assistant:{% endif %}"""
"""For models without a template, which never learnt what a turn is."""
DEFAULT_STOPS = ("\nUser:", "\nAssistant:")


class ChatTemplate:
    """A model's template, or the plain one; rendering is safe from any thread."""

    def __init__(self, source: str = "", tokens: Mapping[str, str] | None = None) -> None:
        self.source, self.tokens = source or DEFAULT, dict(tokens or {})
        self._stops = () if source else DEFAULT_STOPS
        self._lock = threading.Lock()
        self._sandbox: subprocess.Popen[str] | None = start()
        self._warm = False

    def text(self, request: Request) -> str:
        """The prompt of a request that has messages."""
        return self.render(
            request.messages or (), request.tools, request.continue_,
            request.template, request.template_options,
        )  # fmt: skip

    def lead(self, request: Request, text: str) -> str:
        """What the prompt of a request has begun of the reply: a thought's tag, or nothing."""
        return begun(text) if request.messages is not None and not request.continue_ else ""

    def stops(self, request: Request) -> tuple[str, ...]:
        """Stop strings that a chat needs because its template ends no turn."""
        return self._stops if request.messages is not None and not request.template else ()

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        continue_: bool = False,
        template: str = "",
        template_options: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        strict: bool = False,
    ) -> str:
        """The prompt; raises Refused when the template does, or costs too much.

        `template` stands in for the model's own, and `template_options` are what it may read
        beside the messages. A template that refuses a system message, or two messages of one
        role in a row, gets them joined to their neighbours instead, and one that fails at calls of
        tools, or leaves them out, their arguments as text or no words beside them, unless it is
        `strict`.
        """
        last = messages[-1] if continue_ and messages else None
        if last and last.role == "assistant" and any(tag in last.text for tag in WRITTEN):
            how = tools, False, template, template_options, True, strict
            return after(self.render(messages[:-1], *how), last.text)
        source = template or self.source
        entries = [entry for message in messages for entry in as_entries(message)]
        begun = False
        if continue_:
            if not entries or entries[-1]["role"] not in ("assistant", "user"):
                raise Refused("Only a reply can be continued, and the last message is none.")
            begun = bool(entries[-1]["content"])
            entries[-1]["content"] += HERE
        context = {
            "documents": None, **self.tokens, **(template_options or {}), "messages": entries,
            "tools": list(tools) or None,
            "add_generation_prompt": add_generation_prompt and not continue_,
        }  # fmt: skip
        whose = "This" if template else "The model's"
        answer = self._ask(source, context, whose)
        if not strict and (missed := lacking(answer, entries)):
            for way in other_ways(entries):
                other = self._ask(source, {**context, "messages": way}, whose)
                if (lacks := lacking(other, entries)) < missed:
                    answer, missed = other, lacks
                if not missed:
                    break
        if "error" in answer:
            raise Refused(f"{whose} chat template fails ({answer['error']}).")
        if not continue_:
            return answer["text"]
        text, found, rest = answer["text"].rpartition(HERE.strip())
        if not found:
            raise Refused(f"{whose} chat template leaves out the reply to be continued.")
        if not begun:
            return text.rstrip(" ")  # "Name: " would be another token than "Name:".
        return text if rest.startswith(" ") else text.rstrip()

    def close(self) -> None:
        sandbox, self._sandbox, self._warm = self._sandbox, None, False
        if sandbox:
            end(sandbox)

    def _ask(self, source: str, context: Mapping[str, Any], whose: str) -> dict[str, str]:
        with self._lock:
            if self._sandbox and self._sandbox.poll() is not None:
                self.close()  # It died since the last one, which this one is not to blame for.
            sandbox = self._sandbox = self._sandbox or start()
            try:
                if not self._warm:  # A slow machine's Python is not the template's fault.
                    exchange(sandbox, "", {}, COLD)
                    self._warm = True
                answer = exchange(sandbox, source, context, SECONDS)
            except (OSError, ValueError):
                slow = f"it took more than {SECONDS:.0f} seconds, or too much memory"
                answer = {"cost": slow if self._warm else "its own process did not start"}
                self.close()
        if "cost" in answer:
            raise Refused(f"{whose} chat template was stopped: {answer['cost']}.")
        return answer


def exchange(
    sandbox: "subprocess.Popen[str]", source: str, context: Mapping[str, Any], seconds: float
) -> dict[str, str]:
    """One line in, one line out; ends a sandbox that takes longer (ValueError)."""
    assert sandbox.stdin
    assert sandbox.stdout
    timer = threading.Timer(seconds, sandbox.kill)
    timer.start()
    try:
        sandbox.stdin.write(json.dumps([source, context], default=str) + "\n")
        sandbox.stdin.flush()
        return json.loads(sandbox.stdout.readline())
    finally:
        timer.cancel()


def after(prompt: str, words: str) -> str:
    """A reply that thinks goes on as it was written: templates leave thoughts out, or end them."""
    lead = begun(prompt)
    twice = lead and words.startswith(lead.strip())
    return prompt[: len(prompt) - len(lead)] + words if twice else prompt + words


def start() -> subprocess.Popen[str]:
    script = Path(__file__).with_name("sandbox.py")
    return subprocess.Popen(
        [sys.executable, "-P", "-s", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )


def end(sandbox: subprocess.Popen[str]) -> None:
    """Kill it, and wait until it is gone; what its pipes say to that is nobody's loss."""
    sandbox.kill()
    for pipe in (sandbox.stdin, sandbox.stdout):
        with suppress(OSError):
            pipe.close()  # type: ignore[union-attr]
    sandbox.wait()


def is_system(entry: Mapping[str, Any]) -> bool:
    return entry["role"] == "system"


def as_entries(message: Message) -> list[dict[str, Any]]:
    """The message as templates expect it: each tool's result is a message of its own."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if results:
        return [
            {"role": "tool", "content": each.content, "tool_call_id": each.id, "name": message.name}
            for each in results
        ]
    entry: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name:
        entry["name"] = message.name
    if thought := "".join(part.text for part in message.parts if isinstance(part, Reasoning)):
        entry |= dict.fromkeys(THOUGHTS, thought)
    if calls := [part for part in message.parts if isinstance(part, ToolCall)]:
        entry["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": arguments(call.arguments)},
            }
            for call in calls
        ]
    return [entry]


def arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def lacking(answer: Mapping[str, str], entries: Sequence[Mapping[str, Any]]) -> int:
    """How much of a conversation is not in a prompt: its system message, calls, or all of it."""
    if "error" in answer:
        return len(entries) + 1
    wanted = [entries[0]["content"].strip()] if entries and is_system(entries[0]) else []
    wanted += [call["function"]["name"] for each in entries for call in each.get("tool_calls", ())]
    return sum(words not in answer["text"] for words in wanted)


def other_ways(entries: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same conversation as templates may want it that fail at the usual form."""
    ways = [[dict(each) for each in entries]]
    if any("tool_calls" in each for each in entries):
        if any(len(each.get("tool_calls", ())) > 1 for each in entries):
            ways.append(one_by_one(entries))
        for way in tuple(ways):
            ways += [as_text(way), wordless(way), wordless(as_text(way))]
        yield from ways[1:]
    yield from map(joined, ways)


def one_by_one(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each call a message of its own, its result after it: Llama's templates know no other. Calls
    may share an id, and have none: they take their results in order."""
    results = defaultdict[Any, deque[Mapping[str, Any]]](deque)
    for entry in entries:
        if entry["role"] == "tool":
            results[entry.get("tool_call_id")].append(entry)
    said: list[dict[str, Any]] = []
    placed: set[int] = set()
    for entry in entries:
        calls = entry.get("tool_calls", ())
        for number, call in enumerate(calls):
            content = "" if number else entry["content"]
            said.append({**entry, "tool_calls": [call], "content": content})
            if waiting := results[call["id"]]:
                result = waiting.popleft()
                said.append(dict(result))
                placed.add(id(result))
        if not calls and id(entry) not in placed:
            said.append(dict(entry))
    return said


def as_text(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The arguments of calls as JSON, not as what it means."""

    def text(call: Mapping[str, Any]) -> dict[str, Any]:
        function, given = call["function"], call["function"]["arguments"]
        said = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return {**call, "function": {**function, "arguments": said}}

    return [
        {**each, "tool_calls": [text(call) for call in each["tool_calls"]]}
        if "tool_calls" in each
        else dict(each)
        for each in entries
    ]


def wordless(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """No content where there are calls and no words, as OpenAI has it."""
    return [
        {**each, "content": each["content"] or None} if "tool_calls" in each else dict(each)
        for each in entries
    ]


def joined(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation without system messages and without neighbours of one role."""
    simple: list[dict[str, Any]] = []
    for entry in entries:
        entry = {**entry, "role": "user"} if is_system(entry) else dict(entry)
        before = simple[-1] if simple else {}
        alike = before.get("role") == entry["role"] != "tool"
        if alike and "tool_calls" not in entry and "tool_calls" not in before:
            entry["content"] = f"{simple.pop()['content']}\n\n{entry['content']}"
        simple.append(entry)
    return simple
