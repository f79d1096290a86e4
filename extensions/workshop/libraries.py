"""The libraries of an extension's engine: which are its own alone, to be taken away with it."""

from kernel.api import Kernel


def alone(kernel: Kernel, id: str) -> list[str]:
    """The environments below `kernel.workers.root` that no other extension is built on; none while
    the manifest of one cannot be read, for who knows what that needs."""
    needs: dict[str, set[str]] = {}
    for record in kernel.records.values():
        if not record.manifest:
            return []
        if table := record.manifest.worker:
            names = {table.environment, *(f"{table.environment}-{v}" for v in table.variants)}
            needs.setdefault(record.id, set()).update(names)
    mine = needs.pop(id, set[str]())
    free = mine.difference(*needs.values())
    return sorted(name for name in free if (kernel.workers.root / name).is_dir())
