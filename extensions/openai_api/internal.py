"""/v1/internal: what text-generation-webui answers beside OpenAI's routes."""

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import Call, Endpoint, converted, json, read, refused
from kernel.api import Meta

from . import chat
from .format import Constraint

Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
DONE = "OK"


class Words(msgspec.Struct):
    """A text."""

    text: str


class Ids(msgspec.Struct):
    """Tokens."""

    tokens: list[Id]


class Encoded(msgspec.Struct):
    """The tokens of a text, and how many there are."""

    tokens: list[int]
    length: int


class Length(msgspec.Struct):
    """How many tokens a text has."""

    length: int


class Next(Constraint, kw_only=True):
    """Of what the likeliest next tokens are asked; sampling fields count with `use_samplers`."""

    prompt: str
    use_samplers: bool | None = None
    top_logits: Annotated[int, Meta(ge=1, le=1000)] | None = None


class Prompt(msgspec.Struct):
    """What a model is given for a conversation."""

    prompt: str


class Health(msgspec.Struct):
    """That the server lives."""

    status: str = "ok"


class Internal:
    """The routes that need no administrator."""

    def __init__(self, rest: chat.Rest) -> None:
        self._rest, self._programs = rest, rest.programs

    def endpoints(self) -> tuple[Endpoint, ...]:
        def of(name: str, answer: Any, method: Any = "POST", **more: Any) -> Endpoint:
            return Endpoint(f"/v1/internal/{name}", answer, method, **more)

        return (
            of("encode", self.encode, takes=Words, gives=Encoded, summary="Tokens of a text."),
            of("decode", self.decode, takes=Ids, gives=Words, summary="The text of tokens."),
            of("token-count", self.count, takes=Words, gives=Length, summary="How many they are."),
            of("logits", self.logits, takes=Next, gives=dict[str, float],
               summary="How likely the next tokens are."),
            of("chat-prompt", self.prompt, takes=chat.Chat, gives=Prompt,
               summary="What the model would be given for a conversation."),
            of("stop-generation", self.stop, gives=str, summary="Stop the caller's own replies."),
            of("health", self.health, "GET", gives=Health, summary="Whether the server lives."),
        )  # fmt: skip

    async def encode(self, call: Call) -> Response:
        tokens = await self._programs.tokens(call.read(Words).text)
        return json(Encoded(tokens, len(tokens)))

    async def decode(self, call: Call) -> Response:
        return json(Words(await self._programs.text(call.read(Ids).tokens)))

    async def count(self, call: Call) -> Response:
        return json(Length(len(await self._programs.tokens(call.read(Words).text))))

    async def logits(self, call: Call) -> Response:
        said: dict[str, Any] = read(call.body, dict[str, Any])
        body = converted(said, Next)
        samples = bool(body.use_samplers)
        if samples and body.constraint():
            raise refused(
                "The likeliest next tokens are told without a grammar or a JSON schema. Leave it "
                "out, or ask for a reply of one token with logprobs.",
                "use_samplers",
                "unsupported_value",
            )
        sampling = self._programs.sampling(said if samples else {})
        found = await self._programs.metered(
            call,
            "logits",
            [body.prompt],
            param="prompt",
            text=body.prompt,
            sampling=msgspec.to_builtins(sampling, str_keys=True),
            top=body.top_logits or 50,
        )
        key = "after" if samples else "before"
        rows = sorted(found["tokens"], key=lambda row: -row[key])[: body.top_logits or 50]
        likely: dict[str, float] = {}
        for row in rows:  # Halves of letters look alike: the likeliest of them is told.
            likely.setdefault(row["bytes"].decode(errors="replace"), row[key])
        return json(likely)

    async def prompt(self, call: Call) -> Response:
        _, wish = await chat.asked(self._rest, call)
        request = await self._programs.request(call, wish)
        return json(Prompt(await self._programs.prompt(request)))

    async def stop(self, call: Call) -> Response:
        for run in self._programs.reply_of(call.caller.owner):
            run.cancel()
        return json(DONE)

    async def health(self, call: Call) -> Response:
        return json(Health())
