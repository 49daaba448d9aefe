import pytest

from curation import gates
from store.errors import LeakError


def test_a_leak_stops_and_lists_the_pairs() -> None:
    assert gates.leak([], images=3).outcome == "pass"
    with pytest.raises(LeakError, match=r"1 pairs .*: a\.png \(train\) and b\.png \(test\)\. Correct"):
        gates.leak([("a.png (train)", "b.png (test)")], images=3)
    with pytest.raises(LeakError, match=r"t\) and 5 more"):
        gates.leak([("a (train)", "b (test)")] * 25, images=50)


def test_every_class_is_in_train() -> None:
    assert gates.classes(["cat", "cat", "dog"], ["cat", "dog"]).detail == "train holds 2 cat, 1 dog"
    missing = gates.classes(["cat"], ["cat", "dog", "hen"])
    assert (missing.outcome, missing.detail) == ("fail", "train holds no dog, hen")


def test_the_rest() -> None:
    assert [gates.test(0).outcome, gates.test(1).outcome] == ["fail", "pass"]
    assert [gates.files(["a"], images=2).outcome, gates.files([], images=2).outcome] == ["fail", "pass"]
    torn = gates.conflicts({"a.png": {"dog", "cat"}, "b.png": {"cat"}})
    assert (torn.outcome, torn.detail) == ("warn", "1 duplicate groups hold different labels: a.png (cat and dog)")
    assert gates.conflicts({"b.png": {"cat"}}).outcome == "pass"
    assert gates.duplicates(3).detail.startswith("3 images")
