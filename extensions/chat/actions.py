"""What a page may ask the chat for."""

from typing import Annotated

from kernel.api import UNSET, Action, Meta, UnsetType


class Send(Action, frozen=True):
    """The composer; without a conversation a new one begins. `after` is the last message that the
    page shows: where another tab went on meanwhile, this becomes a branch of its own. What comes
    again with the `idempotency_key` of one that was kept is the same message, and ignored."""

    text: str
    conversation: str = ""
    after: str = ""
    idempotency_key: str = ""


class New(Action, frozen=True):
    """Go to an empty conversation; it is kept when something is said."""


class Incognito(Action, frozen=True):
    """Begin a conversation of which nothing is written to the disk."""


class More(Action, frozen=True):
    """More of the list at the side."""


class Search(Action, frozen=True):
    """What holds these words, in the list's place; without words the list again."""

    text: str = ""


# --- one message ------------------------------------------------------------------------


class OnMessage(Action, frozen=True):
    """Base: a message is meant."""

    message: str


class Reveal(OnMessage, frozen=True):
    """Go to a message that a search found, wherever it stands, hidden or not."""


class Back(OnMessage, frozen=True):
    """Go back to where the page was when it was drawn anew; nothing that is hidden is shown."""


class ShowAgain(OnMessage, frozen=True):
    """Show the branch that a message is on; a reply that is being written instead is stopped."""


class Regenerate(OnMessage, frozen=True):
    """Answer again, as another version."""


class Retry(OnMessage, frozen=True):
    """Answer what was not answered, or not to its end."""


class Continue_(OnMessage, frozen=True):
    """Go on with a reply, as another version."""


class Edit(OnMessage, frozen=True):
    """Other words, as another version; the user's are answered."""

    text: str


class Reword(OnMessage, frozen=True):
    """Other words, as another version; nothing is answered, and what follows stays."""

    text: str


class Version(OnMessage, frozen=True):
    """Show the version so many places on."""

    step: int


class DeleteMessage(OnMessage, frozen=True):
    """Delete one message; what follows it stays, unless another version takes its place."""


class UndeleteMessage(OnMessage, frozen=True):
    """Take that back."""


# --- one conversation -------------------------------------------------------------------


class OnConversation(Action, frozen=True):
    """Base: a conversation is meant."""

    conversation: str


class Earlier(OnConversation, frozen=True):
    """The messages that stand before the message `before`."""

    before: str


class Later(OnConversation, frozen=True):
    """The messages that follow the message `after`; without one, the end."""

    after: str = ""


class Keep(OnConversation, frozen=True):
    """Keep an incognito conversation."""


class Stop(OnConversation, frozen=True):
    """Stop the reply that is being written; its words stay."""


class Rename(OnConversation, frozen=True):
    """Another title."""

    title: str


class Delete(OnConversation, frozen=True):
    """Delete all of it."""


class Undelete(OnConversation, frozen=True):
    """Take that back."""


class SetUp(Action, frozen=True):
    """The sheet with the setup; what is not named stays as it was."""

    conversation: str = ""
    mode: str | UnsetType = UNSET
    character: str | UnsetType = UNSET
    persona: str | UnsetType = UNSET
    template: str | UnsetType = UNSET
    chat_template: str | UnsetType = UNSET
    system_message: str | UnsetType = UNSET
    command: str | UnsetType = UNSET
    start_reply_with: str | UnsetType = UNSET
    stopping_strings: str | UnsetType = UNSET
    stop_at_newline: str | UnsetType = UNSET
    chat_generation_attempts: int | UnsetType = UNSET
    enable_thinking: str | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    preserve_thinking: str | UnsetType = UNSET


class Come(Action, frozen=True):
    """By which word of its own a page is known again when its connection was lost."""

    box: Annotated[str, Meta(min_length=1, max_length=32)]


class Greet(Action, frozen=True):
    """Offer the greeting so many places on, before a conversation begins with one."""

    step: int


class Begin(Action, frozen=True):
    """Begin a conversation with the greeting that is offered, or the one `step` places on."""

    step: int = 0


class Start(Action, frozen=True):
    """Begin a conversation with a character and its greeting, wherever the page is."""

    character: str


class Impersonate(OnConversation, frozen=True):
    """Let the model write the user's message, going on after `text`."""

    text: str = ""


# --- comforts: the last reply -----------------------------------------------------------


class RegenerateLast(OnConversation, frozen=True):
    """Answer the last question again."""


class ContinueLast(OnConversation, frozen=True):
    """Go on with the last reply."""


class Swipe(OnConversation, frozen=True):
    """Show the version of the last reply so many places on; after the last, write a new one."""

    step: int


class ReplaceLast(OnConversation, frozen=True):
    """Put the words of the text box in the last reply's place, as a version of it."""

    text: str = ""


class RemoveLast(OnConversation, frozen=True):
    """Take the last reply off, with what it answers; that goes back to the text box."""


class UnremoveLast(OnMessage, frozen=True):
    """Take that back."""


class Dummy(Action, frozen=True):
    """Keep the words of the text box as the user's message, or as a reply; nothing is answered."""

    text: str = ""
    conversation: str = ""
    role: str = "user"


class Reload(Action, frozen=True):
    """Load the model again that could not be loaded, or whose engine is gone."""


# --- comforts: any message --------------------------------------------------------------


class Menu(OnMessage, frozen=True):
    """What there is to do with a message beside what its row shows."""


class Insert(OnMessage, frozen=True):
    """Put another message `before` or `after` this one, said by `user`, by `assistant`, or by one
    of several characters: `assistant Ada`."""

    text: str = ""
    role: str = "user"
    where: str = "after"


class Move(OnMessage, frozen=True):
    """Let it change places with the message before it, or after it."""

    step: int


class Branch(Action, frozen=True):
    """A new conversation with all up to and with this message, or the last one."""

    message: str = ""
    conversation: str = ""
