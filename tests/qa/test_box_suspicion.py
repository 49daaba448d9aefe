"""Boxes beside a detector: by hand, by planted mistakes, beside cleanlab's ObjectLab, and in any order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from qa import box_suspicion
from qa.box_suspicion import FAULTS, UNNAMED, Boxes, Findings
from store.arrays import Bools, Floats
from tests.qa import detector
from tests.qa.detector import Scene

SEEDS = range(10)
USUAL = 40  # images in which all is well


def boxes(*rows: tuple[int, Sequence[float], int]) -> Boxes:
    """Of image, sides and class."""
    return Boxes(
        np.array([image for image, _, _ in rows], dtype=np.int64),
        np.array([sides for _, sides, _ in rows], dtype=np.float64).reshape(-1, 4),
        np.array([name for _, _, name in rows], dtype=np.int64),
    )


def beside_usual(
    labelled: Sequence[tuple[Sequence[float], int]], predicted: Sequence[tuple[Sequence[float], int, float]]
) -> list[tuple[str, bool]]:
    """What is found of an image beside forty in which a detector says of two classes what the label does."""
    usual = [(image, (10 + image, 20, 60 + image, 90), image % 2) for image in range(USUAL)]
    near = [(image, (11 + image, 21, 60 + image, 88), image % 2) for image in range(USUAL)]
    ghosts = [(image, (300, 300, 330, 350), image % 2) for image in range(USUAL)]
    scores = [*np.linspace(0.8, 0.95, USUAL), *np.linspace(0.1, 0.3, USUAL), *(score for _, _, score in predicted)]
    found = box_suspicion.find(
        boxes(*usual, *((USUAL, *each) for each in labelled)),
        boxes(*near, *ghosts, *((USUAL, sides, name) for sides, name, _ in predicted)),
        np.array(scores),
    )
    mine = np.flatnonzero(found.image == USUAL)
    assert not found.is_candidate[found.image < USUAL].any()
    return [(FAULTS[found.fault[row]], bool(found.is_candidate[row])) for row in mine.tolist()]


BOX, FAR, SHIFTED = (100, 100, 200, 200), (300, 100, 400, 220), (140, 130, 240, 230)


def test_what_a_sure_detector_sees_and_the_label_lacks_was_overlooked() -> None:
    assert ("overlooked", True) in beside_usual([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.97)])
    assert ("overlooked", True) in beside_usual([], [(FAR, 1, 0.97)])  # a label without boxes
    assert ("overlooked", True) not in beside_usual([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.5)])


def test_a_thing_said_twice_is_overlooked_once_and_one_that_is_labelled_is_not() -> None:
    twice = (302, 100, 402, 222)
    found = beside_usual([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.97), (twice, 0, 0.93)])
    assert found.count(("overlooked", True)) == 1
    found = beside_usual([(BOX, UNNAMED)], [(BOX, 0, 0.97)])  # such as a turned box
    assert found == []
    alike = beside_usual([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.97), (FAR, 1, 0.97)])
    assert [fault for fault, _ in alike].count("overlooked") == 1


def test_what_is_said_twice_does_not_come_true_by_the_first() -> None:
    """A ghost in each image, said again a little less surely: neither is in a label."""
    random = np.random.default_rng(0)
    things = [(image, BOX, 0) for image in range(USUAL)]
    ghosts = [(image, FAR, 0) for image in range(USUAL)]
    scores = [random.uniform(low, low + 0.1, USUAL) for low in (0.85, 0.5, 0.35)]
    found = box_suspicion.find(boxes(*things), boxes(*things, *ghosts, *ghosts), np.concatenate(scores))
    assert (found.doubt[found.fault == FAULTS.index("overlooked")] < 0.2).all()


def test_few_predictions_that_come_true_are_not_believed_always() -> None:
    """Seven of seven come true: by Laplace's rule of succession the next one does in eight cases of nine."""
    labelled = boxes(*((image, BOX, 0) for image in range(6)), (6, SHIFTED, 0))
    found = box_suspicion.find(labelled, boxes(*((image, BOX, 0) for image in range(7))), np.full(7, 0.9))
    assert found.doubt[found.image == 6] == pytest.approx([8 / 9], abs=0.01)


def test_a_box_beside_its_thing_is_badly_located() -> None:
    found = beside_usual([(SHIFTED, 0)], [(BOX, 0, 0.95)])
    assert found == [("badly located", True)]
    assert beside_usual([(SHIFTED, 2)], [(BOX, 2, 0.95)]) == found  # the only one of its class
    assert beside_usual([(BOX, 0)], [((105, 105, 225, 225), 0, 0.95), (BOX, 0, 0.2)]) == found  # the surer one is heard
    close = (103, 101, 203, 199)
    assert ("badly located", True) not in beside_usual([(close, 0)], [(BOX, 0, 0.95)])


def test_no_box_is_badly_located_that_overlaps_by_nine_tenths() -> None:
    labelled = boxes(*((image, BOX, 0) for image in range(USUAL)))
    sides = labelled.sides.copy()
    sides[0, 2] -= 8  # pixels of a hundred
    found = box_suspicion.find(labelled, Boxes(labelled.image, sides, labelled.classes), np.full(USUAL, 0.95))
    assert not found.is_candidate.any()


def test_a_box_is_not_badly_located_by_a_prediction_that_is_seldom_right() -> None:
    assert ("badly located", True) not in beside_usual([(SHIFTED, 0)], [(BOX, 0, 0.2)])


def test_how_near_is_usual_is_asked_of_each_class() -> None:
    """Things of class 1 are blurred, so that nobody draws them alike; the same gap is much for class 0."""
    random = np.random.default_rng(0)
    truth = np.tile(np.array(BOX, dtype=np.float64), (80, 1))
    named = np.arange(80) % 2
    moved = truth + np.tile(np.where(named == 1, random.uniform(12, 26, 80), 1.0)[:, None], 4)
    moved[[0, 1]] = np.array(BOX) + 25.0
    image = np.arange(80)
    found = box_suspicion.find(Boxes(image, truth, named), Boxes(image, moved, named), np.full(80, 0.95))
    assert found.image[found.is_candidate].tolist() == [0]


def test_another_class_at_the_place_of_a_box_swaps_it_unless_its_own_is_there_too() -> None:
    assert beside_usual([(BOX, 0)], [(BOX, 1, 0.95)]) == [("swapped", True)]
    assert ("swapped", True) not in beside_usual([(BOX, 0)], [(BOX, 1, 0.95), (BOX, 0, 0.6)])
    assert ("swapped", True) not in beside_usual([(BOX, 0)], [(BOX, 1, 0.4)])


def test_predictions_are_assigned_and_not_picked_one_by_one() -> None:
    left, right = (100, 100, 200, 200), (130, 100, 230, 200)
    between = (118, 100, 218, 200)  # nearer to the right one, which another prediction fits alone
    found = beside_usual([(left, 0), (right, 0)], [(between, 0, 0.95), (right, 0, 0.95)])
    assert ("overlooked", True) not in found
    assert [fault for fault, _ in found].count("badly located") <= 2


def images_of(found: Findings, among: Bools, images: int) -> Floats:
    return box_suspicion.of_images(found, among, images=images)


def search(scene: Scene) -> tuple[Findings, Floats]:
    """What is found, and how suspect each image is by all of it."""
    found = box_suspicion.find(scene.labelled, scene.predicted, scene.scores)
    return found, images_of(found, np.ones(len(found.image), dtype=np.bool_), scene.images)


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_mistakes_rank_above_cleanlabs(seed: int) -> None:
    scene = detector.scene(seed)
    found, ours = search(scene)
    wrong = scene.wrong > 0
    precision = average_precision_score(wrong, ours)
    assert precision > 0.7  # chance is .15
    assert precision > average_precision_score(wrong, detector.of_cleanlab(scene)) + 0.1
    candidates = images_of(found, found.is_candidate, scene.images) > 0
    assert wrong[candidates].mean() > 0.75
    assert candidates[wrong].mean() > 0.4


def test_each_planted_mistake_is_called_what_it_is() -> None:
    said = np.zeros((3, 3), dtype=int)
    for seed in SEEDS:
        scene = detector.scene(seed)
        found, _ = search(scene)
        for image, fault in zip(found.image[found.is_candidate], found.fault[found.is_candidate], strict=True):
            if scene.wrong[image]:
                said[scene.wrong[image] - 1, fault] += 1
    assert (said.diagonal() > 0.85 * said.sum(axis=1)).all(), said
    assert (said.diagonal() >= 30).all(), said  # of a hundred of each


@pytest.mark.parametrize("seed", SEEDS)
def test_of_right_labels_few_are_candidates(seed: int) -> None:
    scene = detector.scene(seed, share=0.0)
    found, _ = search(scene)
    assert (images_of(found, found.is_candidate, scene.images) > 0).mean() <= 0.02


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3, 0.5])
def test_candidates_do_not_run_out_where_much_was_overlooked(share: float) -> None:
    """Of ten scenes together about half is found, whatever the share, and nothing else is called overlooked."""
    lacking = found_there = named = 0
    denied: list[float | None] = []
    for seed in SEEDS:
        scene, gone = detector.lacking(seed, share=share)
        found = box_suspicion.find(scene.labelled, scene.predicted, scene.scores)
        said = found.predicted[found.is_candidate & (found.fault == FAULTS.index("overlooked"))]
        at = Boxes(scene.predicted.image[said], scene.predicted.sides[said], scene.predicted.classes[said])
        lacking, named = lacking + len(gone.image), named + len(said)
        found_there += int(detector.at_places(at, gone).sum())
        denied.append(found.surest_denied)
    assert found_there / lacking > 0.45
    assert found_there / named > 0.95
    assert np.mean(np.array(denied)) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_candidates_do_not_run_out_where_many_were_swapped(share: float) -> None:
    swapped = hit = named = 0
    for seed in SEEDS:
        scene = detector.scene(seed, share=0.0)
        wrong = np.random.default_rng(seed).random(len(scene.labelled.image)) < share
        classes = np.where(wrong, (scene.labelled.classes + 1) % detector.CLASSES, scene.labelled.classes)
        found = box_suspicion.find(replace(scene.labelled, classes=classes), scene.predicted, scene.scores)
        said = found.labelled[found.is_candidate & (found.fault == FAULTS.index("swapped"))]
        swapped, hit, named = swapped + int(wrong.sum()), hit + int(wrong[said].sum()), named + len(said)
    assert hit / swapped > 0.35
    assert hit / named > 0.9


def test_the_surest_quarter_is_told_by_what_labels_deny_of_it() -> None:
    """Of eight predictions the surest two are of a thing that is not labelled and of one that is called otherwise."""
    labelled = boxes(*((image, BOX, 0) for image in range(1, 8)))
    predicted = boxes((0, BOX, 0), (1, BOX, 1), *((image, BOX, 0) for image in range(2, 8)))

    def denied(scores: Sequence[float]) -> float | None:
        return box_suspicion.find(labelled, predicted, np.array(scores)).surest_denied

    assert denied([0.9, 0.8, *[0.5] * 6]) == 1
    assert denied([0.9, 0.1, 0.8, *[0.5] * 5]) == 0.5
    assert denied([0.1, 0.2, 0.9, 0.8, *[0.5] * 4]) == 0
    assert box_suspicion.find(labelled, NONE, np.empty(0)).surest_denied is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_detector_that_is_sure_of_everything_makes_no_candidates_of_its_ghosts(seed: int) -> None:
    scene = detector.scene(seed, share=0.0)
    sure = replace(scene, scores=0.9 + 0.099 * np.random.default_rng(seed).random(len(scene.scores)))
    found, _ = search(sure)
    assert not (found.is_candidate & (found.fault == FAULTS.index("overlooked"))).any()
    assert found.surest_denied is not None
    assert found.surest_denied > 0.1  # which is said


@pytest.mark.parametrize("seed", SEEDS)
def test_permuting_images_permutes_the_result(seed: int) -> None:
    scene = detector.scene(seed)
    random = np.random.default_rng(seed)
    renamed = random.permutation(scene.images)
    mine, theirs = random.permutation(len(scene.labelled.image)), random.permutation(len(scene.predicted.image))
    other = Scene(
        scene.images,
        Boxes(renamed[scene.labelled.image[mine]], scene.labelled.sides[mine], scene.labelled.classes[mine]),
        Boxes(renamed[scene.predicted.image[theirs]], scene.predicted.sides[theirs], scene.predicted.classes[theirs]),
        scene.scores[theirs],
        scene.wrong,
    )
    (found, before), (again, after) = search(scene), search(other)
    assert after[renamed] == pytest.approx(before, abs=1e-4)
    assert again.is_candidate.sum() == found.is_candidate.sum()


NONE = boxes()


@pytest.mark.parametrize(
    ("labelled", "predicted", "scores"),
    [
        (NONE, NONE, ()),
        (boxes((0, BOX, 0)), NONE, ()),
        (NONE, boxes((0, BOX, 0), (1, FAR, 1)), (0.99, 0.98)),  # nothing says how far the detector can be trusted
        (boxes((0, BOX, 0)), boxes((0, BOX, 0)), (0.9,)),
        (boxes((0, BOX, 0)), boxes((0, BOX, 1)), (0.9,)),  # one image: none to compare it with
        (boxes((0, BOX, 0), (0, BOX, 0)), boxes((0, BOX, 0), (0, BOX, 0)), (1.0, 0.0)),
        (boxes((0, (5, 5, 5, 5), 0)), boxes((0, BOX, 0)), (0.9,)),  # a box without area
    ],
)
def test_too_little_to_say_anything(labelled: Boxes, predicted: Boxes, scores: tuple[float, ...]) -> None:
    found = box_suspicion.find(labelled, predicted, np.array(scores))
    assert not found.is_candidate.any()
    assert ((found.doubt > 0) & (found.doubt <= 1)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_where_all_labels_are_of_one_class_what_a_detector_calls_otherwise_is_not_believed(seed: int) -> None:
    scene = detector.scene(seed, share=0.0)
    alike = replace(scene, labelled=replace(scene.labelled, classes=np.zeros_like(scene.labelled.classes)))
    found, _ = search(alike)
    assert not (found.is_candidate & (found.fault == FAULTS.index("swapped"))).any()
