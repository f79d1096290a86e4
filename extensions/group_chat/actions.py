"""What a page may ask for about the group of a conversation."""

from typing import Annotated

from kernel.api import Action, Meta

from .group import Order


class InGroup(Action, frozen=True):
    """Base: the group of a conversation is meant."""

    conversation: str


class Add(InGroup, frozen=True):
    """One more character; without a conversation a new one begins."""

    character: str


class OnMember(InGroup, frozen=True):
    """Base: a member is meant."""

    character: str


class Remove(OnMember, frozen=True):
    """Somebody leaves; what was said stays."""


class BringBack(OnMember, frozen=True):
    """Take that back."""


class Mute(OnMember, frozen=True):
    """Somebody does not speak, or may again."""

    on: bool


class Move(InGroup, frozen=True):
    """The member `id` goes to the place `to` of the list, from 0."""

    id: str
    to: Annotated[int, Meta(ge=0, le=30)]


class Speak(OnMember, frozen=True):
    """Somebody speaks now, muted or not."""


class Choose(InGroup, frozen=True):
    """Who answers from now on, in manual order."""

    chosen: str


class Turns(InGroup, frozen=True):
    """Who speaks when."""

    order: Order


class GoOn(InGroup, frozen=True):
    """So many replies without the user between them."""

    turns: Annotated[int, Meta(ge=1, le=50)] = 4
