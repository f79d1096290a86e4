"""What a page of Notebook or Default may ask for; each is an action of either."""

from typing import Annotated, Literal

from kernel.api import Action, Meta

View = Literal["raw", "markdown", "html", "logits", "tokens"]
"""The sub-tabs of a text."""
Place = Annotated[int, Meta(ge=0)]


class OnText(Action, frozen=True):
    """Base: a text is meant."""

    name: str


class Edit(OnText, frozen=True):
    """What was typed: at a place, in the text as it was at a revision; `id` is made by the page."""

    revision: int
    at: Place
    cut: Place
    put: str
    id: Annotated[str, Meta(max_length=40)]
    box: Literal["text", "output"] = "text"


class Generate(OnText, frozen=True):
    """Let the model go on."""


class Continue_(OnText, frozen=True):
    """Let the model go on with what came out."""


class Regenerate(OnText, frozen=True):
    """Take back what was generated last, and generate again."""


class Undo(OnText, frozen=True):
    """Take back what was generated last."""


class Stop(OnText, frozen=True):
    """Stop; its words stay."""


class New(Action, frozen=True):
    """Begin another text."""


class Rename(OnText, frozen=True):
    """Another name."""

    title: str


class Delete(OnText, frozen=True):
    """Put it among the deleted texts."""


class Undelete(Action, frozen=True):
    """Take that back."""

    id: str


class Show(OnText, frozen=True):
    """Another sub-tab."""

    view: View


class Logits(OnText, frozen=True):
    """What may come next, and how likely that is."""

    samplers: bool = True
    top: Annotated[int, Meta(ge=1, le=200)] = 25


class Tokens(OnText, frozen=True):
    """The text as the model reads it."""


class Send(Action, frozen=True):
    """Begin a text with a conversation up to a message, as the model reads it."""

    message: str
