"""Carries out what the page asks for: search, look, and have a form of a model fetched."""

from collections.abc import Sequence
from typing import Any

from kernel.api import Client, Extension, Refused

from .addresses import Address, address_of, looks_like_one
from .asked import Fetch, FetchFiles, FetchStarter, LookAgain, OwnList, Search, ShowCard
from .choosing import Choice, is_lora
from .downloads import Downloads
from .hub import Hub
from .looks import Looks
from .pages import Pages
from .plan import Repository
from .planning import Places, plan_of, plan_of_files
from .starters import make_own


class Desk:
    """The actions of finding."""

    def __init__(
        self, ext: Extension[Any], hub: Hub, looks: Looks, pages: Pages, downloads: Downloads
    ) -> None:
        self._ext, self._hub, self._looks, self._pages = ext, hub, looks, pages
        self._downloads, self._places = downloads, Places(ext.models, ext.loras)
        ext.on(Search)(lambda a, client: self.search(client, a.text))
        ext.on(LookAgain)(lambda a, client: self.look_again(client, a.address))
        ext.on(ShowCard)(lambda a, client: self.show_card(client, a.address))
        ext.on(Fetch)(lambda a, client: self.fetch(client, a))
        ext.on(FetchFiles)(lambda a, client: self.fetch_files(client, a))
        ext.on(FetchStarter)(lambda a, client: self.fetch_starter(client, a.repo, a.file))
        ext.on(OwnList)(lambda _, client: self.own_list(client))

    async def search(self, client: Client, text: str) -> None:
        """Words are searched for; a name or an address is gone to."""
        text = text.strip()
        if looks_like_one(text):
            address = address_of(text, self._hub.endpoint)
            return await self._pages.go(client, address)
        if not text:
            return await self._pages.show_results(client, "", None)
        await self._pages.show_results(client, text, None)
        found, trouble = None, ""
        try:
            found = await self._hub.search(text)
        except Refused as refusal:
            trouble = str(refusal)
        if self._pages.searched(client) == text:  # Else other words were typed meanwhile.
            await self._pages.show_results(client, text, found, trouble)

    async def look_again(self, client: Client, address: str) -> None:
        """Forget what the hub said, and ask it once more."""
        at = self._address(address)
        self._looks.at(at, again=True)
        await self._pages.tell(at)

    async def show_card(self, client: Client, address: str) -> None:
        """Read the card, once, and show it where the repository is looked at."""
        look = await self._looks.whole(self._address(address))
        if not look.card and not look.wants_card:
            look.wants_card = True
            try:
                await self._looks.card(look)
            finally:
                look.wants_card = False
        await self._pages.tell_card(client, look)

    async def fetch(self, client: Client, wish: Fetch) -> None:
        """Start the download of a form."""
        address = self._address(wish.address)
        look = await self._looks.whole(address)
        choice = next((each for each in look.choices if each.id == wish.choice), None)
        if not look.repository or not choice:
            raise Refused("That is not there any more. Look again, and choose what is.")
        await self._start(look.repository, choice, address, eyes=wish.eyes)

    async def fetch_files(self, client: Client, wish: FetchFiles) -> None:
        """Start the download of single files."""
        address = self._address(wish.address)
        look = await self._looks.whole(address)
        assert look.repository
        names = {str(value) for key, value in wish.rest.items() if key.startswith("file-")}
        items = [item for item in look.repository.items if item.path in names]
        if not items:
            raise Refused("No file is chosen. Tick those that you want, then fetch them.")
        endpoint = address.endpoint or self._hub.endpoint
        found, lora = look.repository, is_lora(look.repository)
        plan = await self._ext.thread(
            lambda: plan_of_files(found, items, self._places, lora=lora, endpoint=endpoint)
        )
        await self._downloads.start(plan, address.endpoint)

    async def fetch_starter(self, client: Client, repo: str, file: str) -> None:
        """Start the download of an entry of the list, once the hub told where it is."""
        address = address_of(repo, self._hub.endpoint)
        look = await self._looks.whole(address)
        choice = holding(look.choices, file)
        if not look.repository or not choice:
            raise Refused(f"{repo} has no file {file} any more. Look at what it has, and choose.")
        await self._start(look.repository, choice, address)

    async def own_list(self, client: Client) -> None:
        """Copy the shipped list to where it may be edited."""
        file = await self._ext.thread(make_own, self._ext.models)
        await self._pages.tell_starters()
        self._ext.tell(f"Your list is {file}. Edit it; the page follows.", client)

    async def _start(
        self, repository: Repository, choice: Choice, address: Address, *, eyes: bool = False
    ) -> None:
        endpoint = address.endpoint or self._hub.endpoint
        plan = await self._ext.thread(
            lambda: plan_of(repository, choice, self._places, eyes=eyes, endpoint=endpoint)
        )
        await self._downloads.start(plan, address.endpoint)

    def _address(self, text: str) -> Address:
        return address_of(text, self._hub.endpoint)


def holding(choices: Sequence[Choice], file: str) -> Choice | None:
    """The form that a file belongs to; capitals are no difference."""
    for choice in choices:
        if any(item.path.casefold() == file.casefold() for item in choice.items):
            return choice
    return None
