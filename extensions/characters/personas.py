"""Who the user can be: `NAME.yaml` with `name` and `user_bio`, and a picture beside it."""

from pathlib import Path

from kernel.api import Refused

from .books import words
from .cards import Card
from .folder import Folder, Place
from .pictures import PERSONAS, address
from .records import Persona


class Personas:
    """The personas that lie in a folder."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)

    def all(self) -> list[Persona]:
        """All that can be read, in the order of the alphabet."""
        found: list[Persona] = []
        for place in self.folder.places().values():
            try:
                found.append(self._read(place))
            except Refused:  # Its file says so, when it is opened.
                continue
        return found

    def get(self, id: str) -> Persona:
        """One of them; raises Refused."""
        return self._read(self.folder.place(id))

    def create(self, name: str, description: str) -> str:
        """Make a persona; answers its id."""
        return self.folder.create(name, Card(_said(name, description)), embed=False)

    def update(self, id: str, name: str, description: str) -> None:
        """Keep what a persona is now; what else its file holds stays."""
        place = self.folder.place(id)
        card = self.folder.read(place)
        self.folder.update(place, Card({**card.data, **_said(name, description)}, card.beside))

    def _read(self, place: Place) -> Persona:
        data = self.folder.read(place).data
        return Persona(
            place.id,
            words(data.get("name")).strip() or place.id,
            words(data.get("user_bio", data.get("description"))),
            address(PERSONAS, place),
        )


def _said(name: str, description: str) -> dict[str, str]:
    if not name.strip():
        raise Refused("A persona needs a name. Write one.")
    return {"name": name.strip(), "user_bio": description}
