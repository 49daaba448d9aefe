"""What came to the catalog since a batch was planned: whether planning again could choose anything else."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from sampling import batch, recipes, state
from sampling.state import Roles, State
from store.schema import DuplicateDecision


@dataclass(frozen=True)
class News:
    """What the planner of a batch could not know."""

    images: frozenset[int]  # embedded since, by id
    learnt: bool  # a label, a prediction run or a failure scan came
    decided: bool  # somebody said of two images whether they are one picture
    freed: bool  # images that were there can be chosen now: the recipe's conditions hold of them, or nobody labels them
    terms: bool  # prices have changed, or what the recipe counts and prices
    another_encoder: bool  # images are seen through other vectors now

    @property
    def is_none(self) -> bool:
        """Whether nothing has changed."""
        return not (self.images or self._else)

    @property
    def only_images(self) -> bool:
        """Whether images came and nothing else has changed."""
        return bool(self.images) and not self._else

    @property
    def _else(self) -> bool:
        return self.learnt or self.decided or self.freed or self.terms or self.another_encoder


def since(session: Session, batch_id: int) -> News:
    """What came since this batch was planned, by what its planner recorded of the catalog it saw.

    Raises:
        NotFoundError: there is no such batch, or nothing is embedded any more.
        InvalidInputError: its recipe cannot be planned now.
    """
    planned = batch.find(session, batch_id)
    then, roles = State(**planned.state), Roles.unpack(planned.pool)
    now = state.look(session, recipes.parse(planned.recipe))
    grown = {table for table, row_id in now.state.newest.items() if row_id > then.newest.get(table, 0)}
    decisions = {DuplicateDecision.__tablename__}
    return News(
        images=now.roles.embedded - roles.embedded,
        learnt=bool(grown - decisions),
        decided=bool(grown & decisions),
        freed=bool((now.roles.eligible & roles.embedded) - roles.eligible),
        terms=_terms(now.state, now.roles, among=roles.embedded) != _terms(then, roles, among=roles.embedded),
        another_encoder=now.state.encoder != then.encoder,
    )


def _terms(state: State, roles: Roles, *, among: frozenset[int]) -> tuple[object, ...]:
    """What a recipe's quotas and costs come to among these images."""
    kinds = {(kind[0], kind[1]): images & among for kind, images in zip(state.kinds, roles.counted, strict=True)}
    return (
        state.price,
        {kind: images for kind, images in kinds.items() if images},
        [one & among for one in roles.priced],
    )
