"""Storage commitment as data sets (PS3.4 Annex J): requests and reports, read back, and what is none."""

from __future__ import annotations

import pytest

from gateway.dicom.encode import Attribute, DataSet
from gateway.dimse import commitment
from gateway.dimse.commitment import NO_SUCH_INSTANCE, PROCESSING_FAILURE, Outcome, Reference
from gateway.errors import DataSetError

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
TRANSACTION = "1.2.3"
ONE, TWO = Reference(CT, "1.2.3.1"), Reference(MR, "1.2.3.2")


def item(reference: Reference) -> DataSet:
    return {
        0x00081150: Attribute("UI", [reference.sop_class_uid]),
        0x00081155: Attribute("UI", [reference.sop_instance_uid]),
    }


class TestRequest:
    """Table J.3-1."""

    def test_is_as_the_standard_has_it(self) -> None:
        assert commitment.request_data_set(TRANSACTION, [ONE, TWO]) == {
            0x00081195: Attribute("UI", [TRANSACTION]),
            0x00081199: Attribute("SQ", [item(ONE), item(TWO)]),
        }

    def test_is_read_back_with_each_instance_once(self) -> None:
        asked = commitment.request_data_set(TRANSACTION, [ONE, TWO, ONE])
        assert commitment.read_request(asked) == (TRANSACTION, [ONE, TWO])

    def test_of_one_instance_under_two_classes(self) -> None:
        asked = commitment.request_data_set(TRANSACTION, [ONE, Reference(MR, ONE.sop_instance_uid)])
        with pytest.raises(DataSetError, match=r"\(0008,1199\): one instance is referenced under two SOP classes"):
            commitment.read_request(asked)

    def test_of_nothing(self) -> None:
        with pytest.raises(DataSetError, match=r"\(0008,1199\): no instance is referenced"):
            commitment.read_request(commitment.request_data_set(TRANSACTION, []))
        with pytest.raises(DataSetError, match=r"\(0008,1199\): no instance is referenced"):
            commitment.read_request({0x00081195: Attribute("UI", [TRANSACTION])})

    def test_that_is_no_sequence(self) -> None:
        asked = commitment.request_data_set(TRANSACTION, [ONE]) | {0x00081199: Attribute("UI", ["1.2"])}
        with pytest.raises(DataSetError, match=r"\(0008,1199\) is no sequence"):
            commitment.read_request(asked)

    @pytest.mark.parametrize("uid", ["1", "1.02.3", "1." + "0" * 62])
    def test_uids_that_are_wrong_and_everywhere(self, uid: str) -> None:
        asked = commitment.request_data_set(uid, [Reference(CT, uid)])
        assert commitment.read_request(asked) == (uid, [Reference(CT, uid)])

    @pytest.mark.parametrize(
        "uids", [[], [""], ["1.2", "1.3"], ["1.a"], ["1." + "0" * 63], ["1.\N{SUPERSCRIPT TWO}"], [7]]
    )
    def test_uids_that_are_none(self, uids: list[object]) -> None:
        asked = commitment.request_data_set(TRANSACTION, [ONE]) | {0x00081195: Attribute("UI", uids)}
        with pytest.raises(DataSetError, match=r"\(0008,1195\) is not one UID"):
            commitment.read_request(asked)


class TestReport:
    """Table J.3-2."""

    @pytest.mark.parametrize(
        ("outcome", "event"),
        [
            (Outcome(TRANSACTION, [ONE, TWO]), commitment.COMPLETE),
            (Outcome(TRANSACTION, [ONE], [(TWO, NO_SUCH_INSTANCE)]), commitment.FAILURES_EXIST),
            (Outcome(TRANSACTION, [], [(ONE, 0x0119), (TWO, 0x0122)]), commitment.FAILURES_EXIST),
        ],
    )
    def test_is_read_back(self, outcome: Outcome, event: int) -> None:
        assert outcome.event_type_id == event
        assert commitment.read_outcome(commitment.outcome_data_set(outcome)) == outcome

    def test_is_as_the_standard_has_it(self) -> None:
        outcome = Outcome(TRANSACTION, [ONE], [(TWO, NO_SUCH_INSTANCE)])
        assert commitment.outcome_data_set(outcome, "GATEWAY") == {
            0x00080054: Attribute("AE", ["GATEWAY"]),
            0x00081195: Attribute("UI", [TRANSACTION]),
            0x00081198: Attribute("SQ", [item(TWO) | {0x00081197: Attribute("US", [0x0112])}]),
            0x00081199: Attribute("SQ", [item(ONE)]),
        }

    def test_names_no_place_for_what_is_not_committed(self) -> None:
        found = commitment.outcome_data_set(Outcome(TRANSACTION, [], [(ONE, NO_SUCH_INSTANCE)]), "GATEWAY")
        assert 0x00080054 not in found
        assert 0x00081199 not in found

    def test_without_a_reason_is_a_failure_to_process(self) -> None:
        report: DataSet = {
            0x00081195: Attribute("UI", [TRANSACTION]),
            0x00081198: Attribute("SQ", [item(ONE), item(TWO) | {0x00081197: Attribute("US")}]),
        }
        assert commitment.read_outcome(report).failed == [(ONE, PROCESSING_FAILURE), (TWO, PROCESSING_FAILURE)]

    @pytest.mark.parametrize("tag", [0x00081198, 0x00081199])
    def test_that_is_no_report(self, tag: int) -> None:
        with pytest.raises(DataSetError, match=f"\\(0008,{tag & 0xFFFF:04X}\\) is no sequence"):
            commitment.read_outcome({0x00081195: Attribute("UI", [TRANSACTION]), tag: Attribute("LO", ["1"])})
