"""What replies must keep to: GBNF files, an editor, a JSON schema, all checked before use."""

from typing import Any

from kernel.api import Extension, Refused

from .shelf import Shelf
from .state import Chosen, Constraint, Keeper

NOT_JSON = "A JSON schema begins with a brace. Grammars have a box of their own."
NOT_GBNF = "A grammar is no JSON. JSON schemas have a box of their own."


class Grammars:
    """The grammar and the schema that are chosen; only what passed the check is ever used."""

    def __init__(self, ext: Extension[Any], keeper: Keeper, shelf: Shelf) -> None:
        self._ext, self._keeper, self.shelf = ext, keeper, shelf

    @property
    def now(self) -> Chosen:
        return self._keeper.now

    async def check(self, grammar: str, schema: str) -> dict[str, str]:
        """A sentence for each box whose text cannot be used, with the line where one is known."""
        from extensions.engine_kit.api import as_gbnf  # noqa: PLC0415 - see there

        found: dict[str, str] = {}
        for box, text, json in (("grammar", grammar, False), ("schema", schema, True)):
            if not text.strip():
                continue
            if text.lstrip().startswith("{") is not json:
                found[box] = NOT_JSON if json else NOT_GBNF
                continue
            try:
                await self._ext.thread(as_gbnf, text)
            except Refused as error:
                found[box] = str(error)
        return found

    async def use(self, by: Constraint, grammar: str, schema: str) -> dict[str, str]:
        """Take both texts, and use one of them; answers what is wrong with them."""
        grammar, schema = (text.replace("\r\n", "\n").strip("\n") for text in (grammar, schema))
        problems = await self.check(grammar, schema)
        if by and not {"grammar": grammar, "schema": schema}[by].strip():
            problems[by] = "It is empty. Write one, or choose Nothing below."
        if by in problems:
            return problems
        good = {"grammar": grammar} if "grammar" not in problems else {}
        good |= {"schema": schema} if "schema" not in problems else {}
        await self._keeper.change(constraint=by, **good)
        return problems

    async def open(self, name: str) -> dict[str, str]:
        """Put a file into the editor and use it; without a name nothing is used any more."""
        if not name:
            await self._keeper.change(grammar_file="", constraint="", grammar="")
            return {}
        text = await self._ext.thread(self.shelf.text, name)
        problems = await self.check(text, "")
        if not problems:
            await self._keeper.change(grammar_file=name, grammar=text, constraint="grammar")
        return problems

    async def keep(self, name: str, grammar: str) -> dict[str, str]:
        """Write the editor's grammar into a file, if it can be used; answers what is wrong."""
        grammar = grammar.replace("\r\n", "\n").strip("\n")
        if not grammar.strip():
            raise Refused("There is no grammar to save. Write one first.")
        if problems := await self.check(grammar, ""):
            return problems
        await self._ext.thread(self.shelf.save, name, grammar + "\n")
        await self._keeper.change(grammar_file=name, grammar=grammar)
        return {}
