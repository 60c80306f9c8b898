"""Storage is told from every other service by the dictionary of the Standard, and transfer syntaxes are spelled as there."""

from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary

from vna.dimse import sop_classes, transfer_syntaxes

CLASSES = {uid: entry for uid, entry in UID_dictionary.items() if entry[1] in ("SOP Class", "Meta SOP Class", "Service Class")}
UNNAMED = {"1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40"}  # retired storage classes without a name


@pytest.mark.parametrize("uid", sorted(CLASSES))
def test_every_standard_sop_class_is_known_as_storage_or_not(uid: str) -> None:
    name = CLASSES[uid][0]
    stores = uid in UNNAMED or ("Storage" in name and "Storage Commitment" not in name)
    if uid in ("1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2", "1.2.840.10008.4.2"):  # commitment, and the service class itself
        return
    assert sop_classes.is_storage(uid) == stores, name


@pytest.mark.parametrize("uid", ["1.2.840.113619.4.26", "1.3.12.2.1107.5.9.1", "2.25.1", "1.2.840.10008.5.1.4.1.1.999"])
def test_private_and_unknown_classes_count_as_storage(uid: str) -> None:
    assert sop_classes.is_storage(uid)


def test_no_class_at_all_is_not_storage() -> None:
    assert not sop_classes.is_storage("")


def test_transfer_syntax_constants_are_those_of_the_dictionary() -> None:
    constants = {name: value for name, value in vars(transfer_syntaxes).items() if name.isupper() and isinstance(value, str)}
    assert len(constants) > 20
    for name, uid in constants.items():
        assert UID_dictionary[uid][1] == "Transfer Syntax", name
    assert set(transfer_syntaxes.COMMON) <= set(constants.values())
    assert len(set(transfer_syntaxes.COMMON)) == len(transfer_syntaxes.COMMON)


def test_sop_class_constants_are_those_of_the_dictionary() -> None:
    for service, models in (("FIND", sop_classes.FIND), ("MOVE", sop_classes.MOVE), ("GET", sop_classes.GET)):
        for model, uid in models.items():
            assert UID_dictionary[uid][0] == f"{model.title()} Root Query/Retrieve Information Model - {service}"
