"""Waveforms (PS3.3 C.10.9) as a picture on a millimetre grid: ECGs at 25 mm/s and 10 mm/mV, others as high as a row.

Each multiplex group has a row for each of its channels. The text of a peer is escaped, and there is none of our own but
units, so that the picture is the same in every language.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import escape

from gateway.dicom.decode import read_data_set
from gateway.dicom.source import Read
from gateway.errors import DataSetError
from gateway.render.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

WAVEFORMS: Final = "1.2.840.10008.5.1.4.1.1.9."
"""Prefix of the SOP class UIDs of waveforms."""
MAX_SECONDS: Final = 60.0
"""The beginning of a longer recording is drawn."""
MAX_CHANNELS: Final = 64
MAX_ATTRIBUTES: Final = 20_000
MAX_BYTES: Final = 64 << 20
"""Bytes of all values. An ambulatory ECG of a day may have more."""
_SLOWEST, _FASTEST = 0.1, 1e6
"""Samples a second."""
_GREATEST_VALUE: Final = 1e12
_INFLATE_LIMIT: Final = 256 << 20

_GROUPS: Final = frozenset((0x0008, 0x003A, 0x5400))
"""The groups of waveforms, and of codes."""
_WAVEFORM_SEQUENCE: Final = 0x54000100
_CHANNEL_DEFINITIONS: Final = 0x003A0200
_WAVEFORM_DATA: Final = 0x54001010
_PADDING_VALUE: Final = 0x5400100A
_CODE_VALUE, _CODE_MEANING = 0x00080100, 0x00080104
_SAMPLES: Final = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
"""Types of samples by Waveform Sample Interpretation; those of μ-law and A-law are sound, not curves."""
_MILLIVOLTS: Final = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6}

_MM_PER_SECOND: Final = 25.0
_MM_PER_MV: Final = 10.0
_MARGIN: Final = 20.0
"""Millimetres on the left, for the names and the calibration mark."""
_LEAST_ROW: Final = 18.0
_GREATEST_ROW: Final = 60.0
_MAX_LABEL: Final = 64
_FINE: Final = 100
"""Steps of a millimetre in a path."""
_MAX_POINTS_PER_MM: Final = 20


class WaveformChannel(NamedTuple):
    label: str
    units: str
    """UCUM."""
    values: Array
    """In `units`; NaN where nothing was recorded (Waveform Padding Value)."""


class WaveformGroup(NamedTuple):
    """A multiplex group: channels that were sampled together."""

    label: str
    frequency: float
    """Samples a second."""
    seconds: float
    """Length of the recording, of which `channels` may have the beginning alone."""
    channels: list[WaveformChannel]


def read_waveform(read: Read, start: int, end: int, transfer_syntax_uid: str) -> list[WaveformGroup]:
    """Read the waveforms of the data set that `read` returns from `start` to `end`. Blocking. Raises DataSetError."""
    remaining = MAX_BYTES

    def keep(tag: int, length: int) -> bool:
        nonlocal remaining
        if tag >> 16 not in _GROUPS:
            return False
        remaining -= 0 if length == 0xFFFFFFFF else length
        if remaining < 0:
            raise DataSetError(f"waveforms of more than {MAX_BYTES} bytes are too long to draw")
        return True

    place = read, start, end, transfer_syntax_uid
    data_set = Header(read_data_set(*place, keep, most=MAX_ATTRIBUTES, inflate_limit=_INFLATE_LIMIT))
    found = [group for item in data_set.items(_WAVEFORM_SEQUENCE) if (group := _group(item)) is not None]
    if not found:
        raise DataSetError("it has no waveform that can be drawn")
    return found


def _group(item: Header) -> WaveformGroup | None:
    import numpy as np

    channels, frequency = item.integer(0x003A0005, 0), item.number(0x003A001A) or 0.0
    kind = _SAMPLES.get(item.text(0x54001006).upper())
    data = item.data(_WAVEFORM_DATA)
    if not 1 <= channels <= MAX_CHANNELS or not _SLOWEST <= frequency <= _FASTEST or kind is None or not data:
        return None
    size = np.dtype(kind).itemsize
    count = min(item.integer(0x003A0010, 1 << 31), len(data) // (size * channels))
    drawn = min(count, max(2, int(MAX_SECONDS * frequency)))
    if count < 2:
        return None
    samples = np.frombuffer(data[: drawn * channels * size], kind).reshape(drawn, channels)
    definitions = item.items(_CHANNEL_DEFINITIONS)
    found = [_channel(definitions[at] if at < len(definitions) else None, at, samples[:, at]) for at in range(channels)]
    padding = item.data(_PADDING_VALUE)[:size]
    if len(padding) == size:
        for at, channel in enumerate(found):
            channel.values[samples[:, at] == np.frombuffer(padding, kind)[0]] = np.nan
    return WaveformGroup(_printable(item.text(0x003A0020)), frequency, count / frequency, found)


def _channel(definition: Header | None, at: int, samples: Array) -> WaveformChannel:
    """A channel in its units (PS3.3 C.10.9.1.4.3): a sample times its sensitivity, and the baseline."""
    import numpy as np

    if definition is None:
        return WaveformChannel(str(at + 1), "", samples.astype("f8"))
    source, units = definition.item(0x003A0208), definition.item(0x003A0211)
    meaning = source.text(_CODE_MEANING) if source is not None else ""
    label = _printable(definition.text(0x003A0203) or meaning) or str(at + 1)
    factor = (definition.number(0x003A0210) or 1.0) * (definition.number(0x003A0212) or 1.0)
    with np.errstate(over="ignore", invalid="ignore"):  # sensitivity and baseline of a data set may be anything
        values = np.nan_to_num(samples.astype("f8") * factor + (definition.number(0x003A0213) or 0.0))
    values = np.clip(values, -_GREATEST_VALUE, _GREATEST_VALUE)
    unit = _printable(units.text(_CODE_VALUE)) if units is not None else ""
    return WaveformChannel(label.removeprefix("Lead "), unit, values)


def _printable(text: str) -> str:
    """A text of a peer without what XML has no characters for, and not too long for a row."""
    return "".join([letter if letter.isprintable() else " " for letter in text[:_MAX_LABEL]])


def as_svg(groups: list[WaveformGroup]) -> str:
    """Draw the groups below each other. The picture is as large as on paper."""
    rows = "".join(_rows(groups))
    height = sum(_height(group) for group in groups)
    width = _MARGIN + max(_width(group) for group in groups) + 5
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="system-ui, sans-serif" font-size="3.2">'
        '<defs><pattern id="fine" width="1" height="1" patternUnits="userSpaceOnUse">'
        '<path d="M1 0H0V1" fill="none" stroke="#f6cfcb" stroke-width=".1"/></pattern>'
        '<pattern id="grid" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" '
        'fill="url(#fine)"/><path d="M5 0H0V5" fill="none" stroke="#e8a49d" stroke-width=".2"/></pattern></defs>'
        f'<rect width="{width:g}" height="{height:g}" fill="#fffdfc"/>'
        f'<rect width="{width:g}" height="{height:g}" fill="url(#grid)"/>{rows}</svg>'
    )


def _rows(groups: list[WaveformGroup]) -> Iterator[str]:
    top = 0.0
    for group in groups:
        drawn = len(group.channels[0].values) / group.frequency
        length = f"{drawn:g} s" if drawn >= group.seconds - 1e-9 else f"{drawn:g} s / {group.seconds:g} s"
        scale = f", {_MM_PER_MV:g} mm/mV" if any(each.units in _MILLIVOLTS for each in group.channels) else ""
        heading = f"{group.label + ': ' if group.label else ''}{length}, {_MM_PER_SECOND:g} mm/s{scale}"
        yield f'<text x="2" y="{top + 5:g}" fill="#333">{escape(heading)}</text>'
        top += _HEADING
        for channel in group.channels:
            yield from _row(channel, group.frequency, top)
            top += _row_height(channel)


_HEADING: Final = 8.0


def _height(group: WaveformGroup) -> float:
    return _HEADING + sum(map(_row_height, group.channels))


def _width(group: WaveformGroup) -> float:
    return len(group.channels[0].values) / group.frequency * _MM_PER_SECOND


def _row_height(channel: WaveformChannel) -> float:
    low, high = _range(channel)
    return min(max((high - low) * _mm_per_unit(channel) + 4, _LEAST_ROW), _GREATEST_ROW)


def _range(channel: WaveformChannel) -> tuple[float, float]:
    import numpy as np

    low, high = float(np.fmin.reduce(channel.values)), float(np.fmax.reduce(channel.values))
    return (low, high) if low <= high else (0.0, 0.0)  # nothing but padding


def _mm_per_unit(channel: WaveformChannel) -> float:
    """The scale of a channel: that of ECGs for voltages, otherwise what fills a row."""
    if channel.units in _MILLIVOLTS:
        return _MILLIVOLTS[channel.units] * _MM_PER_MV
    low, high = _range(channel)
    return (_LEAST_ROW - 4) / (high - low) if high > low else 1.0


def _row(channel: WaveformChannel, frequency: float, top: float) -> Iterator[str]:
    import numpy as np

    low, high = _range(channel)
    scale, height = _mm_per_unit(channel), _row_height(channel)
    middle = top + height / 2
    label = channel.label
    if channel.units not in _MILLIVOLTS:
        label = f"{label} {low:.4g}…{high:.4g} {channel.units}".strip()
    y = np.clip(middle - (channel.values - (low + high) / 2) * scale, top, top + height)
    x = _MARGIN + np.arange(len(y)) * (_MM_PER_SECOND / frequency)
    x, y = _thinned(x, y, frequency)
    yield f'<text x="2" y="{top + 4:g}" fill="#111" font-weight="600">{escape(label)}</text>'
    if channel.units in _MILLIVOLTS:
        yield (
            f'<path d="M12 {middle + 6.5:g}h1v-10h3v10h1" fill="none" stroke="#111" stroke-width=".25"/>'  # 1 mV
        )
    yield (
        f'<path transform="scale({1 / _FINE:g})" d="{_path(x, y)}" fill="none" stroke="#111" '
        f'stroke-width="{0.25 * _FINE:g}" stroke-linejoin="round" stroke-linecap="round"/>'
    )


def _thinned(x: Array, y: Array, frequency: float) -> tuple[Array, Array]:
    """The least and greatest of so many points where they are closer than a printer's."""
    import numpy as np

    step = int(frequency / _MM_PER_SECOND / _MAX_POINTS_PER_MM) * 2
    if step < 4:
        return x, y
    whole = len(y) // step * step
    parts = y[:whole].reshape(-1, step)
    return (
        np.repeat(x[:whole:step], 2),
        np.stack([np.fmin.reduce(parts, axis=1), np.fmax.reduce(parts, axis=1)], axis=1).reshape(-1),
    )


def _path(x: Array, y: Array) -> str:
    """A line through points, in whole hundredths of a millimetre, each relative to the one before; with a gap where
    there is no value. A point alone is a line of no length, which its round ends make a dot."""
    import numpy as np

    there = np.flatnonzero(~np.isnan(y))
    runs = np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []
    pieces = []
    for run in runs:
        points = np.rint(np.stack([x[run], y[run]], axis=1) * _FINE).astype("i8")
        first, steps = points[0].tolist(), np.diff(points, axis=0).tolist() or [[0, 0]]
        pieces.append(f"M{first[0]} {first[1]}l" + " ".join([f"{dx} {dy}" for dx, dy in steps]))
    return "".join(pieces)
