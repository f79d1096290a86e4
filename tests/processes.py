"""What is asked of processes that a test does not hold itself."""

import psutil


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended and that nobody has asked for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
