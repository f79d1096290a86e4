"""What programs ask of a server in tests, and a scripted model that knows its words as tokens."""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
from msgspec import structs

from kernel.contract import Refused
from kernel.testing import Scripted
from tests.sockets import Served

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
SAMPLERS = ("temperature", "max_new_tokens", "seed", "custom_stopping_strings", "top_p", "top_k")


class Knowing(Scripted):
    """A model whose tokens are words; with `fills` it knows how to fill in, with `scores` how
    likely a text is: each token has the logprob -1, after it come "a" and "b"."""

    def __init__(
        self, *scripts: str, fills: bool = False, scores: bool = False, **more: Any
    ) -> None:
        more = {"capabilities": ("text", "logprobs", "grammar"), "samplers": SAMPLERS, **more}
        super().__init__(*scripts, **more)
        self.info = structs.replace(self.info, vocabulary_size=1000)
        self.words: list[str] = ["<s>", "a", "b"]
        self.fills, self.scores = fills, scores

    def id(self, word: str) -> int:
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)

    def ids(self, text: str, special: bool = True) -> list[int]:
        if self.fills and text in MARKS:
            return [self.id(text)]
        return [0] * special + [self.id(word) for word in re.findall(r"\s*\w+|\s*\W", text)]

    async def call(self, name: str, **data: Any) -> Any:
        match name:
            case "tokenize" if data.get("pieces"):
                ids = self.ids(data["text"], data.get("special", True))
                return [(id, self.words[id].encode(), "") for id in ids]
            case "tokenize":
                return self.ids(data["text"], data.get("special", True))
            case "detokenize":
                return "".join(self.words[id] for id in data["token_ids"] if id)
            case "template":
                lines = [f"{m['role']}: {_text(m)}\n" for m in data["messages"]]
                return "".join(lines) + "assistant:"
            case "logits":
                rows = [(" yes", 0.75, 1.0), (" no", 0.25, 0.0)]
                tokens = [
                    {"id": n, "bytes": word.encode(), "before": p, "after": q, "cut_by": ""}
                    for n, (word, p, q) in enumerate(rows)
                ]
                return {"tokens": tokens[: data["top"]], "reasons": True}
            case "embed":
                return [[float(len(text)), 0.1, -1 / 3] for text in data["texts"]]
            case "scores" if self.scores:
                ids = data.get("token_ids") or self.ids(data["text"])
                likely = [None, *[-1.0] * (len(ids) - 1)]
                return {"token_ids": ids, "logprobs": likely, "top": [[(1, -0.5), (2, -2.0)]] * 9}
            case _:
                raise Refused(f"A scripted model knows no call {name!r}.")


def _text(message: Mapping[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["parts"])


async def ask(served: Served, method: str, path: str, key: str = "", **body: Any) -> httpx.Response:
    """One request, with a key if there is one."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(timeout=60) as web:
        return await web.request(
            method, served.http + path, json=body if method == "POST" else None, headers=headers
        )


async def post(served: Served, path: str, **body: Any) -> httpx.Response:
    return await ask(served, "POST", path, **body)


async def said(served: Served, path: str, **body: Any) -> Any:
    """What is answered where all goes well."""
    answer = await post(served, path, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def fault(served: Served, path: str, **body: Any) -> dict[str, Any]:
    """What is said where it does not, with its status."""
    answer = await post(served, path, **body)
    assert answer.status_code >= 400, answer.text
    return {"status": answer.status_code, **answer.json()["error"]}


async def events(served: Served, path: str, **body: Any) -> list[Any]:
    """The events of a stream that ends with [DONE], as most do."""
    answer = await post(served, path, **{**body, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
