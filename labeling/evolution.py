"""From one revision of a taxonomy to the next: what becomes of each class, and so of what was said with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from labeling.content import Content
from labeling.definitions import ClassDefinition, Definition
from store.errors import InvalidInputError


@dataclass(frozen=True)
class Migration:
    """Which classes each class becomes: one, if it is renamed or merged; several, if split; none, if retired.

    A class that is not named stays. What shows an added class was given another one, or none, before it
    was there; that is not known here, and old labels stay.
    """

    becomes: Mapping[str, tuple[str, ...]]
    added: tuple[str, ...] = ()


@dataclass(frozen=True)
class NeedsRelabelling:
    """Nobody but a person can say what a label is now."""

    why: str


def plan(
    *,
    rename: Sequence[tuple[str, str]] = (),
    merge: Sequence[tuple[Sequence[str], str]] = (),
    split: Sequence[tuple[str, Sequence[str]]] = (),
    add: Sequence[str] = (),
    retire: Sequence[str] = (),
) -> Migration:
    """The migration that does all of these at once.

    Raises:
        InvalidInputError: nothing is to be done, a class has two fates, or one is split into fewer than two.
    """
    fates: list[tuple[str, tuple[str, ...]]] = [
        *((old, (new,)) for old, new in rename),
        *((old, (new,)) for olds, new in merge for old in olds),
        *((old, tuple(news)) for old, news in split),
        *((old, ()) for old in retire),
    ]
    becomes: dict[str, tuple[str, ...]] = {}
    for old, news in fates:
        if old in becomes:
            raise InvalidInputError(f"The class {old!r} is renamed, merged, split or retired twice.")
        becomes[old] = news
    for old, parts in split:
        if len(set(parts)) < 2:
            raise InvalidInputError(f"The class {old!r} is split into {len(set(parts))}: name two or more.")
    if not becomes and not add:
        raise InvalidInputError("A migration renames, merges, splits, adds or retires a class or more; this does not.")
    return Migration(becomes, tuple(add))


def evolve(definition: Definition, migration: Migration) -> Definition:
    """The next definition: what is renamed or merged keeps its place, and the looks of the class it had first.

    Raises:
        InvalidInputError: a class is not there, or a new one is there already.
    """
    known = {each.name: each for each in definition.classes}
    strangers = [name for name in migration.becomes if name not in known]
    if strangers:
        raise InvalidInputError(f"The taxonomy has no class {strangers[0]!r}, but: {', '.join(known)}.")
    staying = {name for name in known if name not in migration.becomes}
    evolved: dict[str, ClassDefinition] = {}
    for name, each in known.items():
        news = migration.becomes.get(name, (name,))
        for new in news:
            if new in staying and name not in staying and _sources(migration, new) == 1 and len(news) == 1:
                raise InvalidInputError(f"The class {new!r} is there already: merge {name},{new}={new} instead.")
            if new in staying or new in migration.becomes.get(new, ()):
                evolved[new] = known[new]
            else:
                evolved.setdefault(new, replace(each, name=new) if len(news) == 1 else ClassDefinition(new))
    for name in migration.added:
        if name in evolved:
            raise InvalidInputError(f"The class {name!r} cannot be added: it is there.")
        evolved[name] = ClassDefinition(name)
    return replace(definition, classes=tuple(evolved.values()))


def class_after(migration: Migration, name: str) -> str | NeedsRelabelling:
    """What a class is now, where that is certain."""
    news = migration.becomes.get(name, (name,))
    if len(news) == 1:
        return news[0]
    fate = f"was split into {', '.join(news)}" if news else "was retired"
    return NeedsRelabelling(f"The class {name!r} {fate}.")


def apply(migration: Migration, content: Content) -> Content | NeedsRelabelling:
    """What was said, in the new words; classes that became one are named once."""
    regions = []
    for region in content.regions:
        classes = _classes_after(migration, region.classes)
        if isinstance(classes, NeedsRelabelling):
            return classes
        regions.append(replace(region, classes=classes))
    if content.choice is None:
        return replace(content, regions=tuple(regions))
    chosen = _classes_after(migration, content.choice.classes)
    if isinstance(chosen, NeedsRelabelling):
        return chosen
    return replace(content, choice=replace(content.choice, classes=chosen), regions=tuple(regions))


def document(migration: Migration) -> dict[str, Any]:
    """The plain values that `parse` reads back."""
    return asdict(migration)


def parse(values: Mapping[str, Any]) -> Migration:
    """What `document` gave, after the database."""
    return Migration({old: tuple(news) for old, news in values["becomes"].items()}, tuple(values["added"]))


def _classes_after(migration: Migration, names: Sequence[str]) -> tuple[str, ...] | NeedsRelabelling:
    after: dict[str, None] = {}
    for name in names:
        new = class_after(migration, name)
        if isinstance(new, NeedsRelabelling):
            return new
        after[new] = None
    return tuple(after)


def _sources(migration: Migration, new: str) -> int:
    return sum(new in news for news in migration.becomes.values())
