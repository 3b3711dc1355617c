"""Label values come from closed sets, also where several processes give them out."""

from pathlib import Path

import pytest

from gateway.metrics.labels import CappedLabels, method_label, model_class


def test_the_first_come_have_a_label_of_their_own() -> None:
    labels = CappedLabels(2)

    assert [labels(name) for name in ("one", "two", "three", "one", "two")] == [
        "one", "two", "other", "one", "two",
    ]  # fmt: skip


def test_workers_agree_on_who_came_first(tmp_path: Path) -> None:
    first, second = (CappedLabels(3, tmp_path / "keys") for _ in range(2))

    assert [first("one"), second("two"), first("three")] == ["one", "two", "three"]
    assert [second("four"), first("four")] == ["other", "other"]
    assert [labels(name) for labels in (first, second) for name in ("one", "two", "three")] == [
        "one", "two", "three", "one", "two", "three",
    ]  # fmt: skip


def test_workers_that_cannot_agree_fail_no_call(tmp_path: Path) -> None:
    labels = CappedLabels(3, tmp_path / "missing" / "keys")
    assert labels("one") == "other"

    (tmp_path / "missing").mkdir()
    assert labels("one") == "one"


@pytest.mark.parametrize("name", ["büro", "a\u2028b", "x" * 100])
def test_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    first, second = (CappedLabels(1, tmp_path / "keys") for _ in range(2))

    assert (first(name), second(name), second("later")) == (name, name, "other")


@pytest.mark.parametrize(
    ("model", "group"),
    [
        ("claude-opus-4-5-20251101", "opus"),
        ("claude-3-5-sonnet-latest", "sonnet"),
        ("claude-haiku-4-5", "haiku"),
        ("claude-3-opus-20240229", "opus"),
        ("other", "other"),
    ],
)
def test_model_classes(model: str, group: str) -> None:
    assert model_class(model) == group


def test_methods() -> None:
    assert [method_label(method) for method in ("GET", "DELETE", "BREW", "get")] == [
        "GET", "DELETE", "other", "other",
    ]  # fmt: skip
