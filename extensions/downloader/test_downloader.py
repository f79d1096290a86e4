"""The downloader as a whole."""

from kernel.testing.plugin import conformance

from .plan import Item, Plan

test_conformance = conformance(__file__)


def test_a_plan_knows_how_much_it_is():
    items = (Item("a", "https://hub/a", 3), Item("b", "https://hub/b", 4))
    assert Plan("me/mine", "main", "0" * 40, "models", "", items).size == 7
