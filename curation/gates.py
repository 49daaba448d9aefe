"""What is checked when a version is cut. Only a leak stops it; the rest is recorded with the version."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from store.errors import LeakError

_LISTED = 20  # names that one sentence may hold


@dataclass(frozen=True)
class Gate:
    """One check of a cut."""

    gate: str
    outcome: str  # pass, warn or fail
    detail: str


def leak(pairs: Sequence[tuple[str, str]], *, images: int) -> Gate:
    """No two tied images lie in different splits; `pairs` says which do, each image with its split.

    Raises:
        LeakError: some do.
    """
    if pairs:
        raise LeakError(
            f"{len(pairs)} pairs of images are one scene or duplicates of each other, but earlier versions put them "
            f"into different splits: {_listed([f'{one} and {other}' for one, other in pairs])}. "
            "Correct their scenes or scan for duplicates again, then cut."
        )
    return Gate("leak", "pass", f"of {images} images no two that are tied lie in different splits")


def classes(in_train: Sequence[str], names: Sequence[str]) -> Gate:
    """Every class has images in train, whose labels `in_train` are."""
    counts = Counter(in_train)
    missing = [name for name in names if not counts[name]]
    if missing:
        return Gate("classes", "fail", f"train holds no {_listed(missing)}")
    return Gate("classes", "pass", "train holds " + _listed([f"{counts[name]} {name}" for name in names]))


def retired(values: Mapping[str, int]) -> Gate:
    """Labels whose class the taxonomy no longer has are left out; `values` counts them by class."""
    if values:
        named = _listed([f"{count} {value}" for value, count in sorted(values.items())])
        return Gate("retired classes", "warn", f"left out, as the newest revision of the taxonomy lacks them: {named}")
    return Gate("retired classes", "pass", "every label is of a class the taxonomy has")


def scanned(missing: int, images: int) -> Gate:
    """The newest duplicate scan compared every image; of those it did not, a copy may sit in another split."""
    if missing:
        advice = "run winnow embed and winnow duplicates scan, then cut again"
        return Gate("scanned", "warn", f"{missing} of {images} images were never compared for duplicates: {advice}")
    return Gate("scanned", "pass", f"all {images} images were compared for duplicates")


def test(images: int) -> Gate:
    """There is something to test on."""
    return Gate("test", "pass" if images else "fail", f"test holds {images} images")


def files(gone: Sequence[str], *, images: int) -> Gate:
    """Every image still has a file; `gone` are the uris of those that have none."""
    if gone:
        return Gate("files", "fail", f"{len(gone)} of {images} images are gone or broken: {_listed(gone)}")
    return Gate("files", "pass", f"all {images} images were there when last ingested")


def duplicates(left_out: int) -> Gate:
    """Train holds one image of a duplicate group."""
    return Gate("duplicates", "pass", f"{left_out} images left out of train since a duplicate of theirs is in it")


def conflicts(values: Mapping[str, set[str]]) -> Gate:
    """A duplicate group has one label; `values` are those of each group, by a uri of it."""
    torn = [f"{uri} ({' and '.join(sorted(found))})" for uri, found in sorted(values.items()) if len(found) > 1]
    if torn:
        return Gate("conflicts", "warn", f"{len(torn)} duplicate groups hold different labels: {_listed(torn)}")
    return Gate("conflicts", "pass", "no duplicate group holds different labels")


def _listed(words: Sequence[str]) -> str:
    rest = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + rest
