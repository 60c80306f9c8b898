"""The tree of errors: who is to blame, what the process ends with, what may go better another time."""

from __future__ import annotations

import inspect
import re

import pytest

from vna import errors
from vna.errors import (
    AssociationRejectedError,
    ConfigError,
    DimseStatusError,
    LockedError,
    PeerError,
    QueryTruncatedError,
    RefusedError,
    StoreError,
    StoreFullError,
    UnreachableError,
    VnaError,
)


def _kinds() -> list[type[VnaError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, VnaError)]


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = re.findall(r"(\w+Error)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(kind.__name__ for kind in _kinds())


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(VnaError, 1), (ConfigError, 2), (PeerError, 10), (LockedError, 11), (StoreError, 20), (RefusedError, 21)],
)
def test_each_branch_has_its_exit_code_and_its_leaves_share_it(kind: type[VnaError], exit_code: int) -> None:
    assert kind.exit_code == exit_code
    if kind is not VnaError:
        assert {leaf.exit_code for leaf in _kinds() if issubclass(leaf, kind)} == {exit_code}


def test_a_configuration_error_tells_all_problems_at_once() -> None:
    error = ConfigError(["one", "two"], hint="fix both")
    assert error.problems == ("one", "two")
    assert str(error) == "one; two"
    assert error.hint == "fix both"
    assert ConfigError("alone").problems == ("alone",)


@pytest.mark.parametrize(("result", "transient"), [(1, False), (2, True)])
def test_a_rejection_is_transient_when_the_peer_says_so(result: int, transient: bool) -> None:
    error = AssociationRejectedError("no", ae_title="PACS", result=result, source=1, reason=1)
    assert error.transient is transient
    assert error.ae_title == "PACS"


def test_a_status_says_itself_whether_another_attempt_may_help() -> None:
    assert DimseStatusError("busy", status=0xA700, transient=True).transient
    assert not DimseStatusError("never", status=0x0122).transient


def test_what_may_go_better_another_time_is_transient() -> None:
    assert UnreachableError("nobody").transient
    assert StoreFullError("full").transient
    assert LockedError("held").transient
    assert not QueryTruncatedError("cut").transient
    assert not RefusedError("no").transient
