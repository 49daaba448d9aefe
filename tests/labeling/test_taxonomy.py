import pytest

from labeling import taxonomy
from labeling.label_config import ClassDefinition
from store.errors import InvalidInputError, NotFoundError
from store.workspace import Workspace

CAT, DOG = ClassDefinition("cat", "meows"), ClassDefinition("dog")


def test_the_same_content_is_the_same_revision(workspace: Workspace) -> None:
    first = taxonomy.create(workspace, "animals", [CAT, DOG], guideline="Look.")
    assert taxonomy.create(workspace, "animals", [CAT, DOG], guideline="Look.") == first
    assert (first.revision, first.classes, first.guideline) == (1, [CAT, DOG], "Look.")


@pytest.mark.parametrize(
    ("classes", "guideline"),
    [([DOG, CAT], "Look."), ([CAT, DOG], "Look twice."), ([ClassDefinition("cat"), DOG], "Look.")],
)
def test_changed_content_is_the_next_revision(
    workspace: Workspace, classes: list[ClassDefinition], guideline: str
) -> None:
    first = taxonomy.create(workspace, "animals", [CAT, DOG], guideline="Look.")
    second = taxonomy.create(workspace, "animals", classes, guideline=guideline)
    assert second.revision == 2
    with workspace.database.read() as session:
        assert taxonomy.newest(session, "animals") == second
        assert taxonomy.list_all(session) == [first, second]


def test_going_back_is_a_new_revision_too(workspace: Workspace) -> None:
    for classes in ([CAT, DOG], [DOG, CAT], [CAT, DOG]):
        revision = taxonomy.create(workspace, "animals", classes)
    assert revision.revision == 3


def test_bad_taxonomies_are_refused_and_leave_nothing(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError):
        taxonomy.create(workspace, "animals", [CAT])
    with pytest.raises(InvalidInputError):
        taxonomy.create(workspace, " ", [CAT, DOG])
    with workspace.database.read() as session, pytest.raises(NotFoundError, match="animals"):
        taxonomy.newest(session, "animals")
