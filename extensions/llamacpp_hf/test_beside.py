"""Who may push out whom where not all that is read beside replies finds room."""

import importlib
import sys
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kernel.contract import Refused

FULL = 1


class Memory:
    """A context of so many tokens."""

    def __init__(self, room: int) -> None:
        self.room, self.sequences, self.refused = room, 40, 0
        self.held: dict[int, int] = {}
        self.batch = SimpleNamespace(room=64, used=0, clear=self._clear, extend=self._extend)
        self._asked: list[tuple[int, int]] = []

    def _clear(self) -> None:
        self.batch.used, self._asked = 0, []

    def _extend(self, ids: Any, past: int, sequence: int, *, last: bool) -> int:
        self._asked.append((sequence, len(ids)))
        self.batch.used += len(ids)
        return sequence

    def decode(self) -> int:
        if sum(self.held.values()) + self.batch.used > self.room:
            self.refused += 1
            return FULL
        for sequence, count in self._asked:
            self.held[sequence] = self.held.get(sequence, 0) + count
        return 0

    def forget(self, sequence: int) -> None:
        self.held.pop(sequence, None)

    def logits(self, row: int) -> list[int]:
        return [row]


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, without the engine's libraries."""
    importlib.import_module("extensions.llamacpp_hf")  # With what it is made of.
    for name in ("numpy", "llama_cpp", "llama_cpp.llama_cpp", "extensions.llama_cpp.api"):
        module: Any = ModuleType(name)
        module.array, module.int32 = lambda part, _: part, int
        module.FULL, module.Adapters, module.Context = FULL, tuple, Memory
        module.PIECE = 64
        monkeypatch.setitem(sys.modules, name, module)
    name = "extensions.llamacpp_hf.beside"
    sys.modules.pop(name, None)
    yield importlib.import_module(name)
    del sys.modules[name]


def crowded(beside: Any) -> tuple[Memory, Any, Any, Any]:
    """A memory that holds one of two lines, and that one read."""
    memory = Memory(300)
    lines = beside.Beside(memory, lambda _: None)
    older = lines.open(range(200), (), together=True)
    assert lines.scores(older)
    return memory, lines, older, lines.open(range(200), (), together=True)


def test_the_younger_waits_for_the_older(beside: Any):
    lines = beside.Beside(Memory(500), lambda _: None)
    older, younger = lines.open(range(300), ()), lines.open(range(300), ())
    while older.scores is None:
        lines.read(younger)
        lines.read(older)
    assert (older.past, younger.past) == (300, 64), "it was pushed out once, and began again"
    for _ in range(3 * beside.IN_VAIN):
        lines.read(younger)
        assert older.past >= 300
        older.add(1)
        assert lines.scores(older)
    assert younger.scores is None
    lines.close(older)
    assert lines.scores(younger)


def test_the_youngest_makes_room_though_another_is_longer(beside: Any):
    lines = beside.Beside(Memory(300), lambda _: None)
    sizes = 180, 100, 50
    oldest, middle, youngest = (lines.open(range(size), ()) for size in sizes)
    for line in (oldest, youngest, middle):
        assert lines.scores(line)
    assert [line.past for line in (oldest, middle, youngest)] == [180, 100, 0]


def test_who_waits_is_not_pushed_out_by_pieces_of_its_own(beside: Any):
    """An older one has room for its one token, though not for a piece of the younger, too."""
    memory, lines, older, younger = crowded(beside)
    while sum(memory.held.values()) < 300 - beside.PIECE:
        lines.read(younger)
    held = younger.past
    for _ in range(20):
        older.add(1)
        assert lines.scores(older)
    assert younger.past >= held


def test_who_is_alone_in_the_memory_finds_room_though_a_piece_of_another_does_not(beside: Any):
    lines = beside.Beside(Memory(256), lambda _: None)
    older = lines.open(range(240), (), together=True)
    assert lines.scores(older)
    younger = lines.open(range(100), (), together=True)
    for _ in range(16):
        older.add(1)
        assert lines.scores(older)
    assert (older.past, younger.past) == (256, 0)


def test_the_log_is_not_filled_by_one_that_waits(beside: Any):
    """llama.cpp writes a line for each batch that it refuses."""
    memory, lines, older, younger = crowded(beside)
    for _ in range(30):
        lines.read(younger)
        older.add(1)
        assert lines.scores(older)
    assert memory.refused < 5
    lines.close(older)
    assert lines.scores(younger), "it is told at once when there is room"


@pytest.mark.parametrize("seed", range(40))
def test_all_come_to_their_end_whoever_comes_when(beside: Any, seed: int):
    dice = Random(seed)
    lines = beside.Beside(Memory(400), lambda _: None)
    todo = [dice.randint(1, 380) for _ in range(dice.randint(2, 8))]
    together = dice.random() < 0.7
    under_way: dict[Any, int] = {}
    for _ in range(5_000):
        if todo and (not under_way or dice.random() < 0.3):
            under_way[lines.open(range(todo.pop()), (), together=together)] = 10
        for line in [*under_way]:
            if line.scores is None:
                lines.read(line)
            if line.scores is not None:
                line.add(1)
                under_way[line] -= 1
            if not under_way[line]:
                del under_way[line]
                lines.close(line)
        if not todo and not under_way:
            return
    raise AssertionError(f"{len(under_way)} never ended")


def test_nobody_waits_for_who_waits_too(beside: Any):
    lines = beside.Beside(Memory(300), lambda _: None)
    older, younger = lines.open(range(200), ()), lines.open(range(200), ())
    assert lines.scores(older)
    read = 0
    while younger.scores is None:
        lines.read(younger)
        read += 1
    assert read > beside.IN_VAIN
    assert not older.past
    lines.close(younger)
    older.add(1)
    assert lines.scores(older)


def test_what_finds_no_room_of_its_own_is_refused(beside: Any):
    lines = beside.Beside(Memory(100), lambda _: None)
    line, other = lines.open(range(200), ()), lines.open(range(20), ())
    assert lines.scores(other)
    with pytest.raises(Refused, match="no room"):
        lines.scores(line)
