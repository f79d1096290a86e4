"""What the flags of the command line mean for the files of a repository."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from kernel.api import Refused, Struct, safe_name

from .addresses import Address
from .choosing import Choice, choices, is_lora, is_weights, missing_parts, selected
from .plan import Item, Plan, Repository
from .planning import Places, plan_of, plan_of_files, where_it_lies
from .trouble import size_of

USUAL = "Q4_K_M"
"""The quantization that is taken of several when none is named."""
PICKLED = (
    "This model comes as pickled files, an old form that can hide programs. Spindle never loads "
    "them as they are: the Model page converts them first."
)


class Wanted(Struct, frozen=True):
    """The flags, as they were given."""

    branch: str = ""
    threads: int | None = None
    text_only: bool = False
    specific_file: str = ""
    include_pattern: str = ""
    exclude_pattern: str = ""
    output: Path | None = None
    user_data_dir: Path | None = None
    clean: bool = False
    check: bool = False
    max_retries: int | None = None
    no_xet: bool = False

    @classmethod
    def of(cls, flags: Mapping[str, Any], address: Address) -> "Wanted":
        """Those that were given; a file in the address counts as one that was named."""
        given = {name: value for name, value in flags.items() if value is not None}
        wanted = cls(**given)
        if wanted.threads is not None and not 1 <= wanted.threads <= 64:
            raise Refused("--threads takes a number from 1 to 64.")
        file = wanted.specific_file or address.path
        return structs.replace(wanted, specific_file=file)

    def places(self, models: Path, loras: Path) -> Places:
        """Where models and LoRAs go: the flags' folders, or the usual ones."""
        if self.output:
            parent = self.output.absolute().parent
            return Places(parent, parent)
        if self.user_data_dir:
            return Places(self.user_data_dir / "models", self.user_data_dir / "loras")
        return Places(models, loras)


def planned(
    repository: Repository, address: Address, wanted: Wanted, places: Places, endpoint: str
) -> Plan:
    """The files that are wanted, and where they go; raises Refused with what to write instead."""
    if wanted.specific_file:
        items = named(repository, wanted.specific_file)
        plan = _of_files(repository, items, places, endpoint)
    elif wanted.text_only or wanted.include_pattern or wanted.exclude_pattern:
        items = _matching(repository, wanted)
        plan = _of_files(repository, items, places, endpoint)
    else:
        choice = chosen(repository, address.quantization)
        plan = plan_of(repository, choice, places, endpoint=endpoint)
    if wanted.output:
        return structs.replace(plan, folder=_folder(wanted.output))
    return where_it_lies(plan, places) if wanted.check else plan


def _folder(output: Path) -> str:
    try:
        return safe_name(output.absolute().name)
    except ValueError as unsafe:
        raise Refused(str(unsafe)) from None


def _of_files(repository: Repository, items: list[Item], places: Places, endpoint: str) -> Plan:
    lora = is_lora(repository)
    return plan_of_files(repository, items, places, lora=lora, endpoint=endpoint)


def named(repository: Repository, file: str) -> list[Item]:
    """The files of a name, with or without its folder, or all in a folder."""
    items = [
        item
        for item in repository.items
        if item.path == file
        or item.path.rpartition("/")[2] == file
        or item.path.startswith(f"{file.rstrip('/')}/")
    ]
    if not items:
        raise Refused(f"{repository.repo} has no file “{file}”. Look at its page for the names.")
    return items


def _matching(repository: Repository, wanted: Wanted) -> list[Item]:
    try:
        items = selected(
            repository,
            include=wanted.include_pattern,
            exclude=wanted.exclude_pattern,
            text_only=wanted.text_only,
        )
    except re.error as error:
        raise Refused(f"A pattern cannot be read: {error}. It is a regular expression.") from None
    some = wanted.include_pattern or wanted.text_only or not choices(repository)
    if not some and not any(is_weights(item.path) for item in items):
        raise Refused(
            f"--exclude-pattern leaves nothing of {repository.repo} that can be loaded. Write a "
            "narrower pattern, or fetch the texts alone: --text-only"
        )
    return items


def chosen(repository: Repository, quantization: str) -> Choice:
    """The form to fetch where none was named file by file: safetensors, or the usual GGUF."""
    found = [choice for choice in choices(repository) if not missing_parts(choice)]
    if not found:
        raise Refused(f"{repository.repo} has no files of a model. Name one: --specific-file F")
    fitting = [choice for choice in found if choice.quantization.name == quantization]
    if quantization and fitting:
        return fitting[0]
    if quantization or (len(found) > 1 and found[0].form == "gguf"):
        usual = [choice for choice in found if choice.quantization.name == USUAL]
        if usual and not quantization:
            return usual[0]
        listed = "\n".join(f"  {size_of(choice.size):>9}  {choice.id}" for choice in found)
        raise Refused(
            f"{repository.repo} comes in several forms:\n{listed}\n"
            "Choose one: --specific-file and its name."
        )
    return found[0]
