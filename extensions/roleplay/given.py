"""Who speaks and for whom: characters and personas, with what a turn says of them itself."""

from msgspec import structs

from extensions.characters.api import Character, Library, Persona
from extensions.prompts.api import Options
from kernel.api import Refused

NOBODY = "No character is chosen for this conversation. Choose one in its setup, or another mode."
NAME = "Assistant"
"""What a character is called of which only a context is given."""


async def pair_of(library: Library, options: Options) -> tuple[Character, Persona]:
    """The two of a turn; raises Refused where there is no character."""
    if options.character:
        character, persona = await library.pair(options.character, options.persona)
    elif options.bot_name or options.context:
        character, persona = Character("", NAME), await library.persona(options.persona)
    else:
        raise Refused(NOBODY)
    if options.bot_name:
        character = structs.replace(character, name=options.bot_name, nickname="")
    if options.context:
        character = structs.replace(
            character, description=options.context, personality="", scenario="", examples=""
        )
    if options.user_name:
        persona = structs.replace(persona, name=options.user_name)
    if options.user_bio:
        persona = structs.replace(persona, description=options.user_bio)
    return character, persona
