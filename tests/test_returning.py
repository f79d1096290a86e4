"""Pages that lose their connection and come back, or do not."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection

from kernel import returning
from kernel.clients import LEFT, Client, Connected, Disconnected
from kernel.returning import Away
from kernel.testing import running
from tests.sockets import Served, serving


class Door(Served):
    """Where pages come and go, and what the bus said of them."""

    def __init__(self, served: Served) -> None:
        self.__dict__ = served.__dict__
        self.clients = self.app.kernel.hub.clients
        self._came, _ = self.app.kernel.bus.open(Connected)
        self._went, _ = self.app.kernel.bus.open(Disconnected)

    async def came(self) -> Client:
        return (await asyncio.wait_for(self._came.get(), 20)).client

    async def went(self) -> Client:
        return (await asyncio.wait_for(self._went.get(), 20)).client

    def nobody_else(self) -> bool:
        return self._came.empty() and self._went.empty()

    async def lose(self, socket: ClientConnection) -> None:
        """Its wire breaks, and the server knows."""
        socket.transport.abort()
        await self.app.until(lambda: not self.clients)


async def said(socket: ClientConnection, pattern: str) -> str:
    """What a page is told until that matches."""
    text = ""
    while not (found := re.search(pattern, text, re.DOTALL)):
        text += str(await asyncio.wait_for(socket.recv(), 20))
    return found.group()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with running("settings") as app, serving(app) as served:
        yield Door(served)


async def test_a_page_that_lost_its_connection_comes_back_as_it_was(door: Door):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        client.subject = "what an extension made of it"
        await door.lose(socket)
    async with door.page("/settings&page=one") as socket:
        assert "Settings" in await said(socket, "<main.*</main>"), "all of it is drawn anew"
        assert door.clients == {client}
        assert client.subject == "what an extension made of it"
        door.app.kernel.hub.tell("Here.", client)
        await said(socket, "Here")
        assert door.nobody_else()
        await socket.close()
    assert await door.went() is client


async def test_what_it_was_told_meanwhile_it_hears(door: Door):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await door.lose(socket)
    door.app.kernel.hub.tell("That cannot be.", client)
    async with door.page("/settings&page=one") as socket:
        await said(socket, "That cannot be")


async def test_it_comes_back_before_its_old_connection_is_known_to_be_dead(door: Door):
    async with door.page("/settings&page=one") as old:
        client = await door.came()
        async with door.page("/settings&page=one") as socket:
            await said(socket, "<main.*</main>")
            assert door.clients == {client}
            await asyncio.wait_for(old.wait_closed(), 20)
            door.app.kernel.hub.tell("Here.", client)
            await said(socket, "Here")
            assert door.nobody_else()


@pytest.mark.parametrize("code", LEFT)
async def test_a_page_that_was_left_does_not_come_back(door: Door, code: int):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await socket.close(code)
        assert await door.went() is client
    async with door.page("/settings&page=one"):
        assert await door.came() is not client


@pytest.mark.parametrize("other", ["/settings&page=two", "/settings&page=", "/settings"])
async def test_another_page_is_another(door: Door, other: str):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await door.lose(socket)
    async with door.page(other):
        assert await door.came() is not client


async def test_the_page_of_another_session_is_another(door: Door):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await door.lose(socket)
    assert door.app.kernel.hub._away.back("somebody else", "one") is None
    assert door.app.kernel.hub._away.back(client.principal, "one") is client


async def test_one_that_has_no_name_is_gone_at_once(door: Door):
    async with door.page("/settings") as socket:
        client = await door.came()
        await door.lose(socket)
        assert await door.went() is client


async def test_who_does_not_come_back_is_gone_after_a_while(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(returning, "STAYS", 0.01)
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await door.lose(socket)
        assert await door.went() is client
    async with door.page("/settings&page=one"):
        assert await door.came() is not client


async def test_of_too_many_the_oldest_is_gone(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(returning, "MOST", 2)
    clients = list[Client]()
    for name in "abc":
        async with door.page(f"/settings&page={name}") as socket:
            clients.append(await door.came())
            await door.lose(socket)
    assert await door.went() is clients[0]
    async with door.page("/settings&page=c"):
        await door.app.until(lambda: door.clients == {clients[2]})


async def test_of_two_with_one_name_the_later_one_may_come_back():
    gone = list[Client]()
    away, one, other = Away(gone.append), *(Client(id, "me", "/", "name") for id in "12")
    away.left(one)
    away.left(other)
    assert gone == [one]
    assert away.back("me", "name") is other
    assert away.back("me", "name") is None
    assert gone == [one]


async def test_where_it_was_sent_meanwhile_it_hears_unless_it_is_elsewhere(door: Door):
    async with door.page("/settings&page=one") as socket:
        client = await door.came()
        await door.lose(socket)
    for path in ("/settings/extensions", "/settings/about", "/settings/about"):
        door.app.kernel.hub.go(client, path)
    door.app.kernel.hub.missed(client)
    async with door.page("/settings&page=one") as socket:
        assert "About" in await said(socket, 'data-path="/settings/about".*<main.*</main>')
        assert client.subject == "about"
        await door.lose(socket)
    async with door.page("/settings/access&page=one") as socket:
        await said(socket, "<main.*</main>")
        assert (client.path, client.subject) == ("/settings/access", "access")
        assert door.nobody_else()
