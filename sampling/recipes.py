"""A recipe says completely how to choose a batch; the same catalog and recipe give the same batch."""

import difflib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from store.errors import InvalidInputError, NotFoundError


class _Strategy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: ClassVar[Literal["uncertain", "diverse"]] = "diverse"  # of what it chooses


class Auto(_Strategy):
    """Coverage while there are next to no labels, after that what makes the model surest."""

    name: Literal["auto"] = "auto"


class Random(_Strategy):
    """All at random, from every split."""

    name: Literal["random"] = "random"


class TypiClust(_Strategy):
    """A typical image of each cluster, those without a label first (Hacohen et al. 2022, arXiv 2202.02794)."""

    name: Literal["typiclust"] = "typiclust"


class KCenter(_Strategy):
    """Always what is farthest from everything labelled or chosen (Sener & Savarese 2018, arXiv 1708.00489)."""

    name: Literal["k-center"] = "k-center"


class FacilityLocation(_Strategy):
    """What is most similar to everything that is not yet represented, greedily."""

    name: Literal["facility-location"] = "facility-location"


class MaxHerding(_Strategy):
    """Coverage by soft balls (Bae et al. 2024, arXiv 2412.20644)."""

    name: Literal["max-herding"] = "max-herding"
    radius: float = Field(default=1.0, gt=0, le=2, description="Distance between unit vectors that a label reaches.")


class UHerding(_Strategy):
    """Coverage by soft balls of what the model is unsure of (Bae et al. 2024, arXiv 2412.20644)."""

    arm = "uncertain"
    name: Literal["uherding"] = "uherding"
    radius: float | None = Field(default=None, gt=0, le=2, description="By default shorter, the more is labelled.")


class WeightedKMeans(_Strategy):
    """One image of each region, regions smaller where the model is unsure (after Ash et al. 2020, arXiv 1906.03671)."""

    arm = "uncertain"
    name: Literal["weighted-k-means"] = "weighted-k-means"
    power: float = Field(default=2.0, gt=0, description="Of the uncertainty that weighs an image.")


class ClusterMargin(_Strategy):
    """The most uncertain image of each cluster of the most uncertain ones (Citovsky et al. 2021, arXiv 2107.14263)."""

    arm = "uncertain"
    name: Literal["cluster-margin"] = "cluster-margin"
    factor: int = Field(default=10, ge=1, description="How many uncertain images are clustered for each pick.")


class Variance(_Strategy):
    """What makes the model surest of all it is unsure of: V-optimal design by Fisher information."""

    arm = "uncertain"
    name: Literal["variance"] = "variance"


Strategy = Annotated[
    Auto
    | Random
    | TypiClust
    | KCenter
    | FacilityLocation
    | MaxHerding
    | UHerding
    | WeightedKMeans
    | ClusterMargin
    | Variance,
    Field(discriminator="name"),
]


class Quota(BaseModel):
    """How many of the picks for training may be of some kind; shares are of these picks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str = Field(description="Which images count, such as: source == 'night'. See winnow images list --where.")
    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=0)
    least_share: float = Field(default=0.0, ge=0, le=1)
    most_share: float = Field(default=1.0, ge=0, le=1)


class Recipe(BaseModel):
    """How to choose a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(gt=0, description="Images to choose.")
    strategy: Strategy = Field(default=Auto(), description="A name, or a mapping of `name` and settings.")
    random_share: float = Field(
        default=0.1, gt=0, le=1, description="Share of the budget drawn at random from the val and test reserve."
    )
    slice_share: float = Field(
        default=0.25, ge=0, le=1, description="Share of the budget for the newest failure clusters, if there are any."
    )
    where: str | None = Field(default=None, description="Only images for which this holds may be picked.")
    exclude: str | None = Field(default=None, description="Images for which this holds may not.")
    quotas: tuple[Quota, ...] = Field(default=(), description="Bounds on the picks for training.")
    min_distance: float = Field(
        default=0.0, ge=0, le=2, description="Cosine distance that picks for training keep from each other."
    )
    model: str = Field(default="probe", description="Whose newest predictions say what is uncertain.")
    seed: int = Field(default=0, ge=0, description="Of everything drawn at random.")

    @field_validator("strategy", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def parse(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        InvalidInputError: a value is missing, unknown or out of range.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        complaints = "; ".join(_complaint(each) for each in error.errors())
        raise InvalidInputError(f"The recipe cannot be used: {complaints}.") from error


_WANTED = {  # by the types of complaints, to end a sentence with
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a name, or a mapping of name and settings",
}


def _complaint(error: ErrorDetails) -> str:
    """What is wrong and what to do, to go on after a colon."""
    *place, key = error["loc"] or ("a recipe",)
    name = _owner(error["loc"]) if isinstance(key, int) else f"{key} of {_owner(place)}" if place else key
    given = "nothing" if error["input"] is None else reprlib.repr(error["input"])
    context, kind = error.get("ctx", {}), error["type"]
    if kind in _WANTED:
        return f"{name} has to be {_WANTED[kind].format(**context)}, not {given}"
    if kind == "missing":
        return f"{name} has to be given"
    if kind == "extra_forbidden":
        return f"{_owner(place)} has no setting {key!r}{_instead(str(key), _settings(place))}"
    if kind == "union_tag_invalid":
        return f"there is no {key} {context['tag']!r}, only {', '.join(_kinds())}"
    if kind == "union_tag_not_found":
        return f"{name} has to have a name, one of {', '.join(_kinds())}"
    return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _owner(place: Sequence[int | str]) -> str:
    """Whose setting is complained of, for example of ("quotas", 0)."""
    match place:
        case []:
            return "a recipe"
        case ["strategy", name]:
            return str(name)
        case [name, int(index)]:
            return f"number {index + 1} of {name}"
        case _:
            return ".".join(map(str, place))


def _settings(place: Sequence[int | str]) -> list[str]:
    """What can be set there."""
    match place:
        case []:
            return list(Recipe.model_fields)
        case ["strategy", name]:
            return [setting for setting in _kinds()[str(name)].model_fields if setting != "name"]
        case ["quotas", _]:
            return list(Quota.model_fields)
        case _:
            return []


def _kinds() -> dict[str, type[BaseModel]]:
    """Every strategy by its name."""
    return {kind.model_fields["name"].default: kind for kind in get_args(get_args(Strategy)[0])}


def _instead(unknown: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(unknown, known, n=1)
    if near:
        return f", perhaps {near[0]} is meant"
    return f", only {', '.join(known)}" if known else ""


def read(path: Path) -> dict[str, Any]:
    """The plain values in a YAML file; `parse` checks them.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not a YAML mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no recipe {path}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"The recipe {path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"The recipe {path} is not a mapping of names to values.")
    return values
