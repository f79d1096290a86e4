"""What a program is told of a reply that is not there."""

from extensions.api_kit.api import Problem, missing


def later(problem: Problem) -> int:
    """Seconds after which it may go well; 0 where it never will."""
    return problem.after or int(problem.fault.headers.get("retry-after", "0"))


def unknown(stream: str) -> Problem:
    """The same for a stranger's reply as for none: nothing is given away."""
    return missing(
        f"There is no reply {stream} for you. It ended more than ten minutes ago, Spindle was "
        "started again since, or it never began. Start it again.",
        "stream",
        "stream_not_found",
    )
