"""render/ecg.py: waveforms in their units, on a millimetre grid."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from gateway.errors import DataSetError
from gateway.render import ecg
from gateway.render.ecg import WaveformGroup, as_svg, read_waveform
from tests.render.test_pipeline import item
from tests.support.datasets import EXPLICIT, encode, read_sample, sample

SVG = "{http://www.w3.org/2000/svg}"


def code(value: str, meaning: str = "") -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator="UCUM", CodeMeaning=meaning or value)


def channel(label: str, units: str = "uV", **values: Any) -> Dataset:
    return item(ChannelLabel=label, ChannelSensitivityUnitsSequence=[code(units)], **values)


def group(samples: Any, channels: list[Dataset], **values: Any) -> Dataset:
    samples = np.asarray(samples)
    made = item(
        NumberOfWaveformChannels=samples.shape[1],
        NumberOfWaveformSamples=len(samples),
        SamplingFrequency="100",
        ChannelDefinitionSequence=channels,
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
    )
    made.add_new("WaveformData", "OW", samples.astype("<i2").tobytes())
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def read(*groups: Dataset) -> list[WaveformGroup]:
    data = encode(item(WaveformSequence=list(groups)))
    return read_waveform(lambda at, length: data[at : at + length], 0, len(data), EXPLICIT)


def test_values_are_in_their_units():
    """A sample times sensitivity and correction, and the baseline (PS3.3 C.10.9.1.4.3)."""
    first = channel("I", ChannelSensitivity="2.5", ChannelSensitivityCorrectionFactor="2", ChannelBaseline="10")
    (found,) = read(group([[1, 7], [-1, 8], [3, 9]], [first, channel("II", "mV")]))
    assert [(each.label, each.units, each.values.tolist()) for each in found.channels] == [
        ("I", "uV", [15.0, 5.0, 25.0]),
        ("II", "mV", [7.0, 8.0, 9.0]),
    ]


def test_twelve_leads_of_a_real_one():
    data_set = read_sample(sample("waveform_ecg.dcm"))
    data = encode(data_set)
    found = read_waveform(lambda at, length: data[at : at + length], 0, len(data), EXPLICIT)
    for one, expected in enumerate(data_set.WaveformSequence):
        array = data_set.waveform_array(one)  # pydicom's
        assert np.allclose(np.stack([each.values for each in found[one].channels], axis=1), array)
        assert found[one].frequency == float(expected.SamplingFrequency)
    assert [each.label for each in found[0].channels][1:] == [
        "II",
        "III",
        "aVR",
        "aVL",
        "aVF",
        "V1",
        "V2",
        "V3",
        "V4",
        "V5",
        "V6",
    ]
    picture = ET.fromstring(as_svg(found))
    assert len(picture.findall(f"{SVG}path")) == 2 * sum(len(each.channels) for each in found)  # curve and mark


def test_25_millimetres_a_second_and_10_a_millivolt():
    samples = np.zeros((101, 1))
    samples[50] = 1000
    picture = ET.fromstring(as_svg(read(group(samples, [channel("V1", ChannelSensitivity="1")]))))
    curve = next(each for each in picture.findall(f"{SVG}path") if each.get("transform"))
    start, steps = curve.attrib["d"].split("l")
    moves = [tuple(map(int, each)) for each in re.findall(r"(-?\d+) (-?\d+)", steps)]
    assert sum(dx for dx, _ in moves) == 2500  # hundredths of a millimetre
    assert min(dy for _, dy in moves) == -1000
    assert start.startswith("M2000 ")


def test_other_units_fill_a_row():
    text = as_svg(read(group([[80], [120], [100]], [channel("ABP", "mm[Hg]")])))
    assert "ABP 80…120 mm[Hg]" in text
    assert "mm/mV" not in text


def test_a_long_one_is_drawn_to_a_limit_that_is_said():
    (found,) = read(group(np.zeros((100 * 120, 1)), [channel("I")]))
    assert (len(found.channels[0].values), found.seconds) == (6000, 120.0)
    assert "60 s / 120 s, 25 mm/s" in as_svg([found])


def test_many_samples_keep_their_peaks():
    samples = np.zeros((20_000, 1))
    samples[7777] = 2000
    text = as_svg(read(group(samples, [channel("I", ChannelSensitivity="1")], SamplingFrequency="20000")))
    assert len(text) < 20_000
    assert " -2000" in text


def curves(groups: list[WaveformGroup]) -> list[str]:
    """The path of each channel."""
    return [each.attrib["d"] for each in ET.fromstring(as_svg(groups)).findall(f"{SVG}path") if each.get("transform")]


def test_what_was_not_recorded_is_a_gap():
    samples = [[0, 5], [100, -32768], [-32768, 5], [50, -32768], [100, -32768]]
    padding = (-32768).to_bytes(2, "little", signed=True)
    made = group(samples, [channel("I", ChannelSensitivity="1"), channel("II")], WaveformPaddingValue=padding)
    (found,) = read(made)
    assert np.array_equal(found.channels[0].values, [0, 100, np.nan, 50, 100], equal_nan=True)
    first, second = curves([found])
    assert re.findall(r"M(\d+) \d+l([^M]*)", first) == [("2000", "25 -100"), ("2075", "25 -50")]
    assert re.findall(r"M(\d+) \d+l([^M]*)", second) == [("2000", "0 0"), ("2050", "0 0")], "points alone are dots"
    assert "-32768" not in as_svg([found]), "the padding is no part of the range"


def test_nothing_but_padding():
    made = group([[9]] * 5, [channel("I", "mm[Hg]")], WaveformPaddingValue=b"\x09\x00")
    assert curves(read(made)) == [""]
    assert "I 0…0 mm[Hg]" in as_svg(read(made))


def test_gaps_among_many_samples():
    samples = np.zeros((20_000, 1))
    samples[5000:10_000] = 99
    made = group(samples, [channel("I")], SamplingFrequency="20000", WaveformPaddingValue=b"\x63\x00")
    (path,) = curves(read(made))
    assert path.count("M") == 2


@pytest.mark.parametrize("value", [b"\x09", b"", b"\x09\x00\x00\x00"])
def test_a_padding_value_as_long_as_it_likes(value: bytes):
    made = group([[1], [9], [1]], [channel("I")])
    made.add_new("WaveformPaddingValue", "OW", value + bytes(len(value) % 2))
    (found,) = read(made)
    assert len(found.channels[0].values) == 3


def test_text_of_a_peer_is_no_markup():
    text = as_svg(read(group([[1], [2]], [channel("<script>&", "x<y")], MultiplexGroupLabel="<b>")))
    assert "<script>" not in text
    assert "<b>" not in text
    ET.fromstring(text)


@pytest.mark.parametrize("values", [{"ChannelSensitivity": "1e300"}, {"ChannelBaseline": "-1e307"}])
def test_whatever_sensitivity_it_has(values: dict[str, str]):
    picture = as_svg(read(group([[-30000], [30000]], [channel("I\x01", **values)])))
    ET.fromstring(picture)
    assert not re.search("nan|inf", picture)


@pytest.mark.parametrize(
    "broken",
    [
        {"WaveformSampleInterpretation": "MB"},
        {"SamplingFrequency": "0"},
        {"SamplingFrequency": "1e308"},
        {"SamplingFrequency": "1e-300"},
        {"NumberOfWaveformChannels": 0},
        {"NumberOfWaveformChannels": 60_000},
        {"WaveformSequence": None},
    ],
)
def test_what_cannot_be_drawn(broken: dict[str, Any]):
    with pytest.raises(DataSetError, match="no waveform"):
        read(group([[1], [2]], [channel("I")], **broken) if "WaveformSequence" not in broken else item())


def test_too_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ecg, "MAX_BYTES", 1000)
    with pytest.raises(DataSetError, match="too long to draw"):
        read(group(np.zeros((1000, 1)), [channel("I")]))
