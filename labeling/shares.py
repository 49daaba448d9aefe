"""Who gets which items of a batch. Everything here is pure: plain values in, plain values out."""

import hashlib
import hmac
import math
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction

from store.errors import InvalidInputError


def counts(total: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """How many of `total` items each share is, by largest remainder; of equal remainders the first named.

    Raises:
        InvalidInputError: the shares do not add up to 1, or one of them is not above 0.
    """
    if any(share <= 0 for share in shares.values()) or sum(shares.values()) != 1:
        said = " + ".join(f"{float(share):g}" for share in shares.values())
        raise InvalidInputError(
            f"The shares {said} make {float(sum(shares.values())):g}: they should be above 0 and 1."
        )
    whole = {name: math.floor(total * share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: whole[name] - total * shares[name])  # stable: the first named
    for name in by_remainder[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def deal(kinds: Sequence[Hashable], shares: Mapping[str, Fraction]) -> dict[str, list[int]]:
    """Positions of items, ascending, by who gets them: each has one taker, and every taker the same mix of kinds.

    Args:
        kinds: of each item, in the order of their ranks; within a kind the takers take turns.
        shares: of each taker; together 1.

    Raises:
        InvalidInputError: as `counts` says.
    """
    turns = [
        (Fraction(2 * i + 1, 2 * count), order, name)
        for order, (name, count) in enumerate(counts(len(kinds), shares).items())
        for i in range(count)
    ]
    first: dict[Hashable, int] = {}
    for position, kind in enumerate(kinds):
        first.setdefault(kind, position)
    by_kind = sorted(range(len(kinds)), key=lambda position: (first[kinds[position]], position))
    dealt: dict[str, list[int]] = {name: [] for name in shares}
    for position, (_, _, name) in zip(by_kind, sorted(turns), strict=True):
        dealt[name].append(position)
    return {name: sorted(positions) for name, positions in dealt.items()}


def hide(others: Sequence[int], gold: Sequence[int], *, key: bytes, context: str) -> list[int]:
    """All items in one order, in which nobody without the key can tell where the gold is.

    The places of the gold are drawn; gold and others keep their own orders.
    """
    total = len(others) + len(gold)
    drawn = sorted(range(total), key=lambda place: hmac.digest(key, f"gold/{context}/{place}".encode(), hashlib.sha256))
    places = set(drawn[: len(gold)])
    rest, hidden = iter(others), iter(gold)
    return [next(hidden if place in places else rest) for place in range(total)]
