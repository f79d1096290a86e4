"""Sampling parameters of the native engine that no other loader has."""

from typing import Annotated

from kernel.api import Meta, Struct

Phrase = Annotated[str, Meta(min_length=1, max_length=200)]


class Bans(Struct, frozen=True):
    """What a reply must not say."""

    banned_strings: Annotated[
        tuple[Phrase, ...],
        Meta(
            max_length=1000,
            description="Words and phrases that never appear, in capitals or not: the reply goes "
            "back to where one began. One a line.",
        ),
    ] = ()
