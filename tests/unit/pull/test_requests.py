"""What is asked for next: the widest request that names nothing durable."""

from __future__ import annotations

from vna.ledger import ExpectedInstance
from vna.pull.requests import UIDS_A_REQUEST, Request, ladder


def study(**series: str) -> list[ExpectedInstance]:
    """Make a study: a=``..x`` is a series of three instances of which the last is there already."""
    return [
        ExpectedInstance("1", name, f"{name}.{n}", sha256="digest" if letter == "x" else "")
        for name, letters in series.items()
        for n, letter in enumerate(letters, 1)
    ]


def climb(instances: list[ExpectedInstance], *, knows_images: bool = False) -> list[list[Request]]:
    """Climb the whole ladder while nothing comes."""
    made: set[Request] = set()
    rungs = []
    while requests := ladder(instances, [one for one in instances if not one.sha256], made, knows_images=knows_images):
        made |= set(requests)
        rungs.append(requests)
    return rungs


def test_a_study_of_which_nothing_is_there_is_asked_for_as_a_whole_first() -> None:
    rungs = climb(study(a="..", b="."))
    assert rungs[0] == [Request("1")]
    assert rungs[1] == [Request("1", "a"), Request("1", "b")]
    assert rungs[2] == [Request("1", "a", ("a.1", "a.2")), Request("1", "b", ("b.1",))]
    assert rungs[3] == [Request("1", "a", ("a.1",)), Request("1", "a", ("a.2",))]
    assert len(rungs) == 4


def test_what_is_there_is_not_asked_for_again() -> None:
    assert climb(study(a=".x.", b="..", c="xx"), knows_images=True) == [
        [Request("1", "a", ("a.1", "a.3")), Request("1", "b")],
        [Request("1", "b", ("b.1", "b.2"))],
        [Request("1", "a", ("a.1",)), Request("1", "a", ("a.3",)), Request("1", "b", ("b.1",)), Request("1", "b", ("b.2",))],
    ]


def test_a_source_without_image_level_gets_the_whole_series_again_at_the_end() -> None:
    assert climb(study(a=".x"))[-1] == [Request("1", "a")]
    assert Request("1", "a") not in [request for rung in climb(study(a=".x"), knows_images=True) for request in rung]


def test_long_lists_are_cut() -> None:
    rung = climb(study(a="x" + "." * (UIDS_A_REQUEST + 1)))[0]
    assert [len(request.sop_instance_uids) for request in rung] == [UIDS_A_REQUEST, 1]


def test_nothing_outstanding_needs_no_request() -> None:
    assert climb(study(a="xx")) == []


def test_keys_are_the_unique_keys_alone() -> None:
    assert Request("1").keys() == {"StudyInstanceUID": "1"}
    assert Request("1", "2", ("3", "4")).keys() == {
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "2",
        "SOPInstanceUID": "3\\4",
    }


def test_a_request_names_what_is_below_it() -> None:
    instance = ExpectedInstance("1", "a", "a.1")
    assert Request("1").names(instance)
    assert Request("1", "a").names(instance)
    assert Request("1", "a", ("a.1",)).names(instance)
    assert not Request("1", "a", ("a.2",)).names(instance)
    assert not Request("1", "b").names(instance)
    assert not Request("2").names(instance)
