"""The downloader as a whole."""

from .plan import Item, Plan


def test_a_plan_knows_how_much_it_is():
    items = (Item("a", "https://hub/a", 3), Item("b", "https://hub/b", 4))
    assert Plan("me/mine", "main", "0" * 40, "models", "", items).size == 7
