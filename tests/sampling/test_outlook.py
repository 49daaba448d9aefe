"""What a plan says of the accuracy so far and of what its labels will bring."""

from typing import Any

import numpy as np
import pytest

from curation import versions
from sampling import batch, outlook, probe, recipes
from sampling.outlook import Outlook
from store.workspace import Workspace


def test_without_a_measured_model_nothing_is_said(workspace: Workspace, build: Any) -> None:
    build.images(3)
    with workspace.database.read() as session:
        assert outlook.read(session, "probe", labels=10, cost=None, stop_below=0.01) == Outlook()


@pytest.fixture
def rounds(workspace: Workspace, build: Any) -> Workspace:
    """Three versions of two classes that a probe can tell, each with more labels, and the rest of 300 images."""
    ids = build.images(300)
    generator = np.random.default_rng(0)
    classes = generator.integers(2, size=300)
    build.vectors(ids, generator.normal(size=(300, 8)) + 3 * np.eye(8)[classes])
    for start, end in ((0, 60), (60, 120), (120, 200)):
        build.labels({ids[i]: ("cat", "dog")[classes[i]] for i in range(start, end)})
        probe.train(workspace, versions.cut(workspace, "animals").id)
    return workspace


def test_a_plan_says_accuracy_gain_and_whether_to_stop(rounds: Workspace) -> None:
    done = batch.plan(rounds, recipes.parse({"budget": 20, "cost": 0.1}))
    assert done.cost == pytest.approx(2.0)
    assert done.outlook.accuracy is not None
    assert done.outlook.accuracy.startswith("probe is right on ")
    assert done.outlook.forecast is not None
    assert "The next 18 labels for 2.00 are expected to add" in done.outlook.forecast
    assert done.calibration is not None
    assert "labels" in done.calibration
    told = batch.plan(rounds, recipes.parse({"budget": 20, "stop_below": 1.0}))
    assert told.outlook.stop is True
    assert told.outlook.forecast is not None
    assert told.outlook.forecast.endswith("it is time to stop.")
