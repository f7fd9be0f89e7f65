"""How keys of a query are written on the command line."""

from __future__ import annotations

import pytest
import typer

from gateway.cli.nodes import parse_keys, retrieve_level, tag_of
from gateway.dicom.encode import Attribute


class TestKeys:
    def test_keywords_and_tags_with_and_without_values(self):
        assert parse_keys(["PatientName=Doe^J*", "00080020=2026-", "(0020,000d)=1.2\\1.3", "StudyTime"]) == {
            0x00100010: Attribute("PN", ["Doe^J*"]),
            0x00080020: Attribute("DA", ["2026-"]),
            0x0020000D: Attribute("UI", ["1.2", "1.3"]),
            0x00080030: Attribute("TM", []),
        }

    def test_numbers(self):
        assert parse_keys(["Rows=512", "FrameTime=33.3", "InstanceNumber=7"]) == {
            0x00280010: Attribute("US", [512]),
            0x00181063: Attribute("DS", ["33.3"]),
            0x00200013: Attribute("IS", ["7"]),
        }

    def test_inside_a_sequence(self):
        step = "ScheduledProcedureStepSequence"
        assert parse_keys([f"{step}.Modality=CT", f"{step}.ScheduledStationAETitle"]) == {
            0x00400100: Attribute("SQ", [{0x00080060: Attribute("CS", ["CT"]), 0x00400001: Attribute("AE", [])}])
        }
        assert parse_keys([step]) == {0x00400100: Attribute("SQ", [])}

    @pytest.mark.parametrize(
        "text", ["Nonsense=1", "PatientID.StudyDate=1", "Rows=many", "PixelData=1", "RequestAttributesSequence=1", "=1"]
    )
    def test_what_is_no_key(self, text: str):
        with pytest.raises(typer.BadParameter, match=text[:4]):
            parse_keys([text])

    def test_a_value_may_hold_what_parts_others(self):
        assert parse_keys(["StudyDescription=a=b.c"]) == {0x00081030: Attribute("LO", ["a=b.c"])}

    def test_tags(self):
        assert (tag_of("PatientID"), tag_of("0010,0020"), tag_of("nothing")) == (0x00100020, 0x00100020, None)


class TestLevel:
    @pytest.mark.parametrize(
        ("keys", "level"),
        [
            (["StudyInstanceUID=1.2"], "study"),
            (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3"], "series"),
            (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3", "SOPInstanceUID=1.4"], "instance"),
            (["PatientID=1"], "patient"),
        ],
    )
    def test_the_lowest_unique_key_decides(self, keys: list[str], level: str):
        assert retrieve_level(parse_keys(keys), None) == level

    def test_none(self):
        with pytest.raises(typer.BadParameter, match="StudyInstanceUID"):
            retrieve_level(parse_keys(["StudyDate=2026", "StudyInstanceUID"]), None)
