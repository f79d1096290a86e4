"""Several lorebooks as one, so that what one of them says may bring an entry of another."""

from collections.abc import Sequence

from msgspec import structs

from .records import Book, Character, Entry


def about(book: Book, character: Character) -> Book:
    """The book without what is told of others."""
    called = {each.casefold() for each in (character.id, character.name, character.char)}
    tags = {tag.casefold() for tag in character.tags}

    def meant(entry: Entry) -> bool:
        if not entry.names and not entry.tags:
            return True
        named = any(name.casefold() in called for name in entry.names)
        return (named or any(tag.casefold() in tags for tag in entry.tags)) != entry.others

    return structs.replace(book, entries=tuple(filter(meant, book.entries)))


def together(books: Sequence[Book], scan_depth: int, budget: int) -> Book | None:
    """All entries in one book: each looks as far back as its own book says, or else `scan_depth`,
    and draws on its book's tokens, or on the `budget` of all that do not say. None where there
    are none."""
    if not books:
        return None
    recursive = any(book.recursive for book in books)
    rooms, entries = [budget], list[Entry]()
    for book in books:
        pool = 0
        if book.budget is not None:
            pool = len(rooms)
            rooms.append(book.budget)
        scan = scan_depth if book.scan_depth is None else book.scan_depth
        for entry in book.entries:
            kept = recursive and not book.recursive  # Beside others it stays as it was alone.
            entries.append(
                structs.replace(
                    entry,
                    scan_depth=scan if entry.scan_depth is None else entry.scan_depth,
                    pool=pool,
                    by_recursion=entry.by_recursion and not kept,
                    brings=entry.brings and not kept,
                )
            )
    return Book(tuple(entries), recursive=recursive, rooms=tuple(rooms))
