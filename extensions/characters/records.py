"""What a character, a persona and a scene are, for whoever talks with them."""

from collections.abc import Awaitable, Callable
from typing import Literal

from kernel.api import Message, Role, Struct

Count = Callable[[str], Awaitable[int]]
"""How many tokens a text has."""
Place = Literal["before", "after", "personality", "scenario", "depth", "none"]
LONGEST = 1 << 20
"""Characters of one text that a character may bring, after its macros."""
INSERTED = "inserted"
"""The id of notes and lore that stand in the conversation and are no messages of it."""


class Note(Struct, frozen=True):
    """A text that stands in the conversation itself: an author's note."""

    text: str
    depth: int = 4
    """Messages that follow it; 0 is the very end."""
    role: Role = "system"
    every: int = 1
    """It is there with every such message of the user's; 1 is always."""


class Entry(Struct, frozen=True):
    """One entry of a lorebook, with what its decorators say."""

    id: str
    keys: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()
    content: str = ""
    name: str = ""
    enabled: bool = True
    constant: bool = False
    logic: Literal["any", "all", "not any", "not all"] | None = None
    """What the secondary keys must do beside; None: they count for nothing."""
    regex: bool = False
    case_sensitive: bool = False
    whole_words: bool = False
    probability: float = 100
    order: float = 0
    """Lower stands above."""
    priority: float = 0
    """What is lower goes first, where there is no room."""
    place: Place = "before"
    depth: int = 4
    role: Role = "system"
    scan_depth: int | None = None
    excludes: tuple[str, ...] = ()
    """It is left out where one of these is found."""
    stays: bool = False
    """Once found, it is there for the rest of the conversation."""
    once: bool = False
    """It is there with the first message that it is found in, and never again."""
    after: int = 0
    """So many replies come before it is there for the first time."""
    every: int = 1
    """It is there at every such reply only."""
    greeting: int | None = None
    """It is there only where the conversation began with this greeting."""
    by_recursion: bool = True
    """The words of other entries may bring it."""
    recursion_level: int = 0
    """Above 0, only the words of others bring it, and those of lower levels come first."""
    brings: bool = True
    """Its own words may bring others."""
    optional: bool = False
    """It goes before all others where there is no room."""
    sticky: int = 0
    """Messages for which it stays when it was told."""
    cooldown: int = 0
    """Messages for which it is not told again after that."""
    delay: int = 0
    """So many messages there must be before it is told."""
    groups: tuple[str, ...] = ()
    """Of all entries of a group that are found only one is told."""
    weight: float = 100
    """How likely it is that one, beside those of the others."""
    prioritized: bool = False
    """It goes before those of its group without this; of several the highest order."""
    scoring: bool = False
    """It is told only if no other one of its group has more keys that are found."""
    outlet: str = ""
    """It is told only where `{{outlet::NAME}}` asks for it."""
    free: bool = False
    """It needs no room."""
    names: tuple[str, ...] = ()
    """It is told only of these characters, or of those with these tags."""
    tags: tuple[str, ...] = ()
    others: bool = False
    """Of all but those."""
    pool: int = 0
    """Which of the rooms of its book it draws on."""


class Book(Struct, frozen=True):
    """A lorebook."""

    entries: tuple[Entry, ...] = ()
    name: str = ""
    scan_depth: int | None = None
    """Messages, from the newest back, in which keys are looked for."""
    budget: int | None = None
    """Tokens of all entries together."""
    recursive: bool = False
    rooms: tuple[int, ...] = ()
    """Tokens of each pool of entries, where a book is made of several; 0 is no limit."""


class Character(Struct, frozen=True):
    """Who the model speaks as. Texts are as they were written, macros and all."""

    id: str
    """The name of its file without the ending."""
    name: str
    nickname: str = ""
    description: str = ""
    personality: str = ""
    scenario: str = ""
    greetings: tuple[str, ...] = ()
    """The first message, and others in its place."""
    group_greetings: tuple[str, ...] = ()
    examples: str = ""
    system_prompt: str = ""
    post_history: str = ""
    note: Note | None = None
    book: Book | None = None
    worlds: tuple[str, ...] = ()
    """The names of lorebooks of their own that go with it."""
    creator: str = ""
    creator_notes: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    user_name: str = ""
    """What an old file calls the user."""
    picture: str = ""
    """The address of its picture, if it has one."""

    @property
    def char(self) -> str:
        """What it is called in a conversation."""
        return self.nickname or self.name


class Persona(Struct, frozen=True):
    """Who the user is in a conversation."""

    id: str = ""
    name: str = "You"
    description: str = ""
    picture: str = ""


class Company(Struct, frozen=True):
    """Who is in a conversation of several characters; of one where it is empty."""

    names: tuple[str, ...] = ()
    """All of them, in their order."""
    muted: tuple[str, ...] = ()
    """Those who do not speak by themselves."""


class Part(Struct, frozen=True):
    """A piece of what stands before the conversation."""

    source: str
    """`system prompt`, `lore`, `description`, `personality`, `scenario` or `persona`."""
    text: str


class Lore(Struct, frozen=True):
    """An entry that was found."""

    id: str
    name: str
    text: str
    place: Place
    tokens: int
    why: str
    """The key that was found, or in words why it is there."""


class Scene(Struct, frozen=True):
    """All that a model is told of a character, its macros expanded; a mode gives it a form."""

    user: str
    char: str
    parts: tuple[Part, ...] = ()
    """What stands before the conversation, in its order."""
    examples: tuple[tuple[Message, ...], ...] = ()
    """Dialogues as they could have been, each with its named turns."""
    history: tuple[Message, ...] = ()
    """The conversation, with lore and notes (role `system`, as a rule) where they belong."""
    post_history: str = ""
    """What is said after the conversation."""
    greetings: tuple[str, ...] = ()
    lore: tuple[Lore, ...] = ()
    """What of the lorebook is told, in its order."""
    left_out: tuple[str, ...] = ()
    """Names of entries that were found and had no room."""

    @property
    def system(self) -> str:
        """The text before the conversation."""
        return "\n".join(part.text for part in self.parts)
