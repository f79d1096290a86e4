"""Samplers as their papers and tools define them, in plain Python on `{token: logit}`.

What a sampler takes out is missing afterwards. Nothing here is fast.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

Logits = dict[int, float]


def shares(logits: Logits) -> dict[int, float]:
    best = max(logits.values())
    parts = {token: math.exp(value - best) for token, value in logits.items()}
    return {token: part / sum(parts.values()) for token, part in parts.items()}


def falling(logits: Logits) -> list[int]:
    return sorted(logits, key=lambda token: -logits[token])


def entropy(logits: Logits) -> float:
    return -sum(p * math.log(p) for p in shares(logits).values())


def only(logits: Logits, tokens: Sequence[int]) -> Logits:
    return {token: value for token, value in logits.items() if token in tokens}


def temperature(logits: Logits, t: float) -> Logits:
    return {token: value / t for token, value in logits.items()}


def dynamic(logits: Logits, low: float, high: float, exponent: float) -> Logits:
    """kalomaze's: between low and high by the entropy's share of the greatest possible one."""
    share = entropy(logits) / math.log(len(logits))
    return temperature(logits, low + (high - low) * share**exponent)


def quadratic(logits: Logits, factor: float, curve: float) -> Logits:
    best = max(logits.values())
    k, s = (3 - curve) / 2, (curve - 1) / 2
    return {
        token: -(k * factor * (value - best) ** 2) + s * factor * (value - best) ** 3 + best
        for token, value in logits.items()
    }


def top_k(logits: Logits, k: int) -> Logits:
    return only(logits, falling(logits)[:k])


def top_p(logits: Logits, p: float) -> Logits:
    parts, total, kept = shares(logits), 0.0, list[int]()
    for token in falling(logits):
        kept.append(token)
        total += parts[token]
        if total >= p:
            break
    return only(logits, kept)


def min_p(logits: Logits, p: float) -> Logits:
    parts = shares(logits)
    return only(logits, [t for t in logits if parts[t] >= p * max(parts.values())])


def typical(logits: Logits, p: float) -> Logits:
    """Meister et al. 2022: the tokens whose surprise is nearest to the expected one."""
    parts, expected, total, kept = shares(logits), entropy(logits), 0.0, list[int]()
    for token in sorted(logits, key=lambda t: abs(-math.log(parts[t]) - expected)):
        kept.append(token)
        total += parts[token]
        if total > p:
            break
    return only(logits, kept)


def top_n_sigma(logits: Logits, n: float) -> Logits:
    mean = sum(logits.values()) / len(logits)
    sigma = math.sqrt(sum((value - mean) ** 2 for value in logits.values()) / len(logits))
    return only(logits, [t for t in logits if logits[t] >= max(logits.values()) - n * sigma])


def top_a(logits: Logits, a: float) -> Logits:
    parts = shares(logits)
    return only(logits, [t for t in logits if parts[t] >= a * max(parts.values()) ** 2])


def tail_free(logits: Logits, z: float) -> Logits:
    """Phénix and Egan's: cut where the summed bends of the sorted curve reach z."""
    order, parts = falling(logits), shares(logits)
    curve = [parts[token] for token in order]
    slopes = [b - a for a, b in pairwise(curve)]
    bends = [abs(b - a) for a, b in pairwise(slopes)]
    kept, total = [order[0]], 0.0
    for token, bend in zip(order[1:-1], bends, strict=True):
        total += bend / sum(bends)
        if total <= z:
            kept.append(token)
    return only(logits, kept)


def epsilon(logits: Logits, value: float) -> Logits:
    parts = shares(logits)
    return only(logits, [t for t in logits if parts[t] >= value * 1e-4])


def eta(logits: Logits, value: float) -> Logits:
    least = value * 1e-4
    bound = min(least, math.sqrt(least) * math.exp(-entropy(logits)))
    parts = shares(logits)
    return only(logits, [t for t in logits if parts[t] >= bound])


def xtc(logits: Logits, threshold: float) -> Logits:
    """p-e-w's, when the coin said so: all of the likely ones but the last of them go."""
    parts = shares(logits)
    likely = [token for token in falling(logits) if parts[token] >= threshold]
    return only(logits, [token for token in logits if token not in likely[:-1]])


def penalties(
    logits: Logits, past: Sequence[int], repetition: float, frequency: float, presence: float
) -> Logits:
    counts, changed = Counter(past), dict(logits)
    for token in set(logits) & set(counts):
        value = logits[token]
        value = value * repetition if value <= 0 else value / repetition
        changed[token] = value - counts[token] * frequency - presence
    return changed


def dry(
    logits: Logits,
    past: Sequence[int],
    multiplier: float,
    base: float,
    allowed: int,
    breakers: Sequence[int] = (),
) -> Logits:
    """p-e-w's: the longest run at the end that was there before, followed by the token."""
    longest: dict[int, int] = {}
    for at in range(1, len(past)):
        length = 0
        while (
            length < at
            and past[at - 1 - length] == past[len(past) - 1 - length]
            and past[at - 1 - length] not in breakers
        ):
            length += 1
        longest[past[at]] = max(longest.get(past[at], 0), length)
    return {
        token: value - multiplier * base ** (longest[token] - allowed)
        if longest.get(token, 0) >= allowed and token not in breakers
        else value
        for token, value in logits.items()
    }


def from_prompt(logits: Logits, prompt: Sequence[int], penalty: float) -> Logits:
    return {
        token: value if token not in prompt else value * penalty if value > 0 else value / penalty
        for token, value in logits.items()
    }


def no_repeat(logits: Logits, past: Sequence[int], size: int) -> Logits:
    seen = {tuple(past[at : at + size]) for at in range(len(past) - size + 1)}
    end = tuple(past[len(past) - size + 1 :])
    return only(logits, [token for token in logits if (*end, token) not in seen])


def mirostat_1(logits: Logits, tau: float, vocabulary: int) -> Logits:
    """Basu et al. 2021, algorithm 1, at its first token: mu is twice tau, of 100 tokens."""
    order, parts = falling(logits), shares(logits)
    pairs = [(order[i], order[i + 1]) for i in range(min(99, len(order) - 1))]
    above = below = 0.0
    for i, (one, other) in enumerate(pairs):
        t = math.log((i + 2) / (i + 1))
        above += t * math.log(parts[one] / parts[other])
        below += t * t
    s = above / below
    e = s - 1
    k = ((e * 2 ** (2 * tau)) / (1 - vocabulary**-e)) ** (1 / s)
    return top_k(logits, max(1, int(k)))


def mirostat_2(logits: Logits, tau: float) -> Logits:
    parts = shares(logits)
    kept = [token for token in logits if -math.log2(parts[token]) <= 2 * tau]
    return only(logits, kept or falling(logits)[:1])


def adaptive(logits: Logits, target: float) -> Logits:
    """llama.cpp's adaptive-p at its first token, where the mean so far is the target."""
    away = {token: abs(part - target) / 0.3 for token, part in shares(logits).items()}
    return {token: 5 - 10 * d * d / (1 + d) for token, d in away.items()}


def surprise(drawn: dict[int, int], expected: dict[int, float]) -> float:
    """How many standard deviations a chi-square test finds `drawn` away from `expected`; all the
    way where something was drawn that cannot be (Wilson and Hilferty's approximation)."""
    if set(drawn) - set(expected):
        return math.inf
    count = sum(drawn.values())
    often = {token: part for token, part in expected.items() if part * count >= 5}
    bins = [(drawn.get(token, 0), part * count) for token, part in often.items()]
    rest = count - sum(times for times, _ in bins), (1 - sum(often.values())) * count
    bins += [rest] if rest[1] >= 5 else []
    freedom = len(bins) - 1
    if not freedom:
        return 0.0
    found = sum((times - mean) ** 2 / mean for times, mean in bins)
    spread = 2 / (9 * freedom)
    return ((found / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
