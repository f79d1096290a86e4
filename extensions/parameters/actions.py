"""What a page may ask of the parameters."""

from typing import Any, Literal

from kernel.api import Action


class Set(Action, frozen=True):
    """Change one parameter; empty takes it back."""

    name: str
    value: Any = ""


class Ban(Action, frozen=True):
    """Ban the text of several tokens that a line of the bans is, as a phrase."""

    line: str


class Reset(Action, frozen=True):
    """Take one parameter back to what the preset, or nobody, says of it."""

    name: str


class Move(Action, frozen=True):
    """Give a sampler another place in the order."""

    id: str
    to: int


class Show(Action, frozen=True):
    """Show only what a loader honours: "" all, "now" the loaded model, else a loader's id."""

    loader: str = ""


# --- presets ----------------------------------------------------------------------------


class Choose(Action, frozen=True):
    """Choose a preset; without a name what the model's own files say."""

    preset: str = ""


class Neutralise(Action, frozen=True):
    """Let nothing that presets hold change anything."""


class Roll(Action, frozen=True):
    """A random preset."""


class Save(Action, frozen=True):
    """Write what applies now as a preset."""

    name: str


class Prefer(Action, frozen=True):
    """Let a preset come with the loaded model, or with every model; empty takes that back."""

    preset: str = ""
    model: bool = True


# --- files of both kinds ----------------------------------------------------------------

What = Literal["preset", "grammar"]


class Delete(Action, frozen=True):
    """Move a file of the user's into the trash, or put one of ours out of sight."""

    what: What
    name: str


class Undelete(Action, frozen=True):
    """Bring it back; `instead` of the one that has its name by now, which is deleted."""

    what: What
    number: str
    instead: bool = False


class Empty(Action, frozen=True):
    """Delete for good what lies in the trash."""


class Bring(Action, frozen=True):
    """Take a file in that was chosen in the page."""

    what: What
    name: str
    text: str


# --- grammars ---------------------------------------------------------------------------


class Open(Action, frozen=True):
    """Put a grammar file into the editor, and use it; without a name none."""

    name: str = ""


class Constrain(Action, frozen=True):
    """What replies must keep to: the editor's grammar, the JSON schema, or nothing."""

    by: Literal["", "grammar", "schema"] = ""
    grammar: str = ""
    schema: str = ""


class Keep(Action, frozen=True):
    """Write the editor's grammar into a file, once it passed the check."""

    name: str
    grammar: str
