"""The sampling parameter of engines that can take back what they wrote."""

from typing import Annotated

from msgspec import Meta

from kernel.contract import Struct

MOST, LONGEST = 1000, 200
"""Phrases, and the letters of one."""


class BannedStrings(Struct, frozen=True):
    """What a reply must not say."""

    banned_strings: Annotated[
        tuple[str, ...],
        Meta(
            description="Words and phrases that never appear, in capitals or not: the reply goes "
            "back to where one began. One a line.",
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Raise ValueError with what is wrong: a list tells only what its items are."""
        if (many := len(self.banned_strings)) > MOST:
            raise ValueError(
                f"There are {many:,} banned strings, and {MOST:,} are the most. Take some out."
            )
        for number, phrase in enumerate(self.banned_strings, 1):
            if not phrase:
                raise ValueError(f"Banned string {number} is empty. Take it out.")
            if len(phrase) > LONGEST:
                raise ValueError(
                    f"Banned string {number} has {len(phrase):,} characters, and {LONGEST} are the "
                    f"most. Shorten it: {phrase[:40]}…"
                )
