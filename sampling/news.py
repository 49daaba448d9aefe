"""What came to the catalog since a batch was planned: whether planning again could choose anything else."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.embed import find_encoder
from sampling import batch, state
from sampling.state import Roles, State
from store.schema import DuplicateDecision, Embedding


@dataclass(frozen=True)
class News:
    """What the planner of a batch could not know."""

    images: frozenset[int]  # embedded since, by id
    learnt: bool  # a label, a prediction run or a failure scan came
    decided: bool  # somebody said of two images whether they are one picture
    another_encoder: bool  # images are seen through other vectors now

    @property
    def is_none(self) -> bool:
        """Whether nothing has changed."""
        return not (self.images or self.learnt or self.decided or self.another_encoder)


def since(session: Session, batch_id: int) -> News:
    """What came since this batch was planned, by what its planner recorded of the catalog it saw.

    Raises:
        NotFoundError: there is no such batch.
    """
    planned = batch.find(session, batch_id)
    then, encoder = State(**planned.state), find_encoder(session)
    embedded = session.scalars(select(Embedding.image_id).where(Embedding.encoder_id == encoder.id))
    grown = {table for table, row_id in state.newest(session).items() if row_id > then.newest.get(table, 0)}
    decisions = {DuplicateDecision.__tablename__}
    return News(
        images=frozenset(embedded) - Roles.unpack(planned.pool).embedded,
        learnt=bool(grown - decisions),
        decided=bool(grown & decisions),
        another_encoder=encoder.digest != then.encoder,
    )
