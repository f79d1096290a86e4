"""Banned strings: what is written again, and when it is let through."""

from collections.abc import Callable

from extensions.engine_kit.bans import MOST_TRIES, Bans

Choose = Callable[[str, frozenset[int]], int]
PIECES = ["The ", "cat ", "sat", " on", " a ", "mat", ". ", "c", "at ", "CAT", "dog "]


def reply(bans: Bans, choose: Choose, most: int = 200) -> tuple[str, str, int]:
    """What was shown, all of it at the end, and how many choices that took."""
    written: list[int] = []
    shown, choices = "", 0
    while len(written) < most:
        token = choose("".join(PIECES[each] for each in written), bans.not_next)
        choices += 1
        if token < 0:
            break
        written.append(token)
        if count := bans.feed(token, PIECES[token].encode()):
            del written[-count:]
        else:
            shown += b"".join(each.piece for each in bans.release()).decode()
        assert "".join(PIECES[each] for each in written).startswith(shown), "nothing is taken back"
    shown += b"".join(each.piece for each in bans.release(all=True)).decode()
    return shown, "".join(PIECES[each] for each in written), choices


def in_order(*wishes: int) -> Choose:
    """Takes the first wish that is not banned, one a place; ends after 6."""

    def choose(text: str, banned: frozenset[int]) -> int:
        if len(text) > 20:
            return -1
        return next(wish for wish in wishes if wish not in banned)

    return choose


def test_a_banned_word_is_replaced_where_it_began():
    shown, written, choices = reply(Bans(["cat"]), in_order(1, 10))
    assert shown == written == "dog " * 6
    assert choices == 13, "each place was tried twice, and then it ended"


def test_one_that_spans_tokens_is_taken_back_whole():
    def choose(text: str, banned: frozenset[int]) -> int:
        if len(text) > 12 and text.endswith(" "):
            return -1
        if text.endswith("c"):
            return 8
        return 7 if 7 not in banned else 10

    shown, _, _ = reply(Bans(["cat "]), choose)
    assert shown == "dog " * 4


def test_capitals_do_not_help_and_beginnings_are_shown_in_the_end():
    assert reply(Bans(["CAT"]), in_order(9, 1, 10))[0] == "dog " * 6
    bans = Bans(["cat sat on a mat"])
    for token in (0, 1, 2, 3):
        assert not bans.feed(token, PIECES[token].encode())
    assert [each.token for each in bans.release()] == [0]
    assert not bans.feed(6, b". ")
    assert [each.token for each in bans.release()] == [1, 2, 3, 6]


def test_where_nothing_else_can_come_it_is_let_through():
    def stubborn(text: str, banned: frozenset[int]) -> int:
        return -1 if len(text) > 20 else 1

    shown, _, choices = reply(Bans(["cat"]), stubborn)
    assert shown == "cat " * 6
    assert choices < 20


def test_a_place_is_tried_a_sane_number_of_times():
    tokens = iter(range(10_000))
    bans = Bans(["x"])
    tries = 0
    while bans.feed(next(tokens), b"x"):
        tries += 1
    assert tries == MOST_TRIES
    assert [each.piece for each in bans.release()] == [b"x"]


def test_a_whole_reply_is_tried_a_sane_number_of_times():
    """Each of 63 tokens may come before each of 63 others, and none of it may be said."""
    bans, tries = Bans(["q", "az"]), 0
    for first in range(63):
        assert not bans.feed(first, b"a")
        for second in range(62):
            tries += bans.feed(1000 + second, b"q")
        tries += bans.feed(2000, b"z") > 0
    assert 200 <= tries <= 300
