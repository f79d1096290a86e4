"""What the Workshop's section and its part of the status line show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extensions.settings.api import in_words
from extensions.workshop.bisect import Bisect, ordered, running
from extensions.workshop.counter import Counter
from extensions.workshop.libraries import alone
from extensions.workshop.trees import is_foreign
from kernel.api import Client, Everyone, Extension, Status


class Views:
    """Draws the fragments, and sends them to the pages that show them."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext, self._kernel = ext, ext.admin
        self.counter: Counter
        self.bisect: Bisect

    async def section(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        near = client.near if client else False
        return {**self.incoming(near), **self.shelf(near), **self.search()}

    async def status(self, client: Client | None, subject: str) -> Mapping[str, Any]:
        return self.search()

    def push(self) -> None:
        """Send what changed to every page that shows it."""
        if not self._kernel.hub.clients:
            return  # A start switches forty on, and nobody looks.
        for client in list(self._kernel.hub.clients):
            section, _, _ = client.subject.partition("/")
            if client.tab == "settings" and section == self._ext.id:
                self._send("_incoming.html", client, self.incoming(client.near))
                self._send("_installed.html", client, self.shelf(client.near))
                self._send("_search.html", client, self.search())
        self._send("_status.html", Everyone(), self.search())

    def incoming(self, near: bool) -> dict[str, Any]:
        """What may be brought in, or is being."""
        shown = self.counter.review
        return {
            "refusal": self.counter.refusal(near),
            "busy": self.counter.busy,
            "review": shown,
            "may": [in_words(p) for p in shown.permissions] if shown else [],
            "gives_up": [in_words(p) for p in shown.lost_permissions] if shown else [],
            "update": shown.replaces.partition(" ")[0] if shown else "",
        }

    def shelf(self, near: bool) -> dict[str, Any]:
        """What is installed."""
        rows: list[dict[str, Any]] = []
        for id, each in self.counter.installer.shelf.all().items():
            record = self._kernel.records.get(id)
            table = record.manifest.worker if record and record.manifest else None
            own = table if table and alone(self._kernel, id) else None
            failed = record and record.is_(Status.FAILED, Status.QUARANTINED, Status.INCOMPATIBLE)
            rows.append(
                {
                    "id": id,
                    "name": self._kernel.name(id) if record else id,
                    "version": each.now.version,
                    "before": each.before.version if each.before else "",
                    "source": self._origin(each.now.source),
                    "at": each.now.at[:10],
                    "sha256": each.now.sha256,
                    "libraries": (own.size or "of unknown size") if own else "",
                    "trouble": record.reason if record and failed else "",
                }
            )
        fixed = bool(self.counter.busy or self.counter.refusal(near))
        foreign = [folder.name for folder in self.foreign()]
        return {"installed": rows, "foreign": foreign, "fixed": fixed}

    def foreign(self) -> list[Path]:
        """Folders beside the extensions that are some of text-generation-webui."""
        roots = self._ext.folder.parent, self._kernel.data / "extensions"
        folders = (script.parent for root in roots for script in sorted(root.glob("*/script.py")))
        return [folder for folder in folders if is_foreign(folder)]

    def _origin(self, source: str) -> str:
        """Where it came from; of what was dropped here the name alone."""
        dropped = "://" not in source and Path(source).is_relative_to(self._kernel.data / "state")
        return Path(source).name if dropped else source

    def search(self) -> dict[str, Any]:
        """How far the search for the culprit is."""
        search, name = self.bisect.search, self._kernel.name
        return {
            "search": search,
            "switching": self.bisect.switching,
            "culprit": name(search.culprit) if search and search.culprit else "",
            "missed": [name(id) for id in search.missed] if search else [],
            "left": [name(id) for id in search.left] if search else [],
            "on": [name(id) for id in search.on] if search else [],
            "off": [name(id) for id in search.order if id not in search.on] if search else [],
            "count": len(search.order)
            if search
            else len(ordered(self._kernel, running(self._kernel))),
        }

    def _send(self, template: str, to: Client | Everyone, context: Mapping[str, Any]) -> None:
        html = self._ext.render(template, oob=True, **context)
        self._ext.push_html(html, to, template)
