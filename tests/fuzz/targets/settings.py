"""What the person writes who runs the gateway: settings, names of attributes, paths of files made of attributes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

from gateway.config import problems
from gateway.dicom.json_reader import from_json
from gateway.dicom.path import AttributePath
from gateway.errors import BadRequest, ConfigurationError
from gateway.remote.template import Template, numbered
from gateway.web.dicomweb.attributes import path_of
from tests.fuzz.targets.objects import MODEL
from tests.fuzz.targets.target import Target


class _Text:
    """A configuration file that is its text."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_text(self, encoding: str) -> str:
        return self._data.decode(encoding)

    def __str__(self) -> str:
        return "gateway.toml"


def configurations(data: bytes) -> None:
    """Whatever stands in the file, what is wrong in it is said, and what is right is taken."""
    reading = problems.read(cast(Path, _Text(data)), {}, None)
    for problem in reading.problems:
        assert str(problem)


def _configuration_seeds() -> list[bytes]:
    return [
        b'[dicom]\naet = "A"\nport = 104\n[modalities.ct]\naet = "CT"\nhost = "10.0.0.5"\nport = 4\nallow = ["echo"]\n',
        b'[http]\nhost = "0.0.0.0"\nhosts = ["a.b"]\n[[http.users]]\nname = "a"\npassword = "scrypt$x"\n',
        b'[destinations.a]\nkind = "folder"\npath = "/x"\nhours = ["19:00-07:00"]\n[rules.r]\ndestinations = ["a"]\n',
        b'[changes.c]\nkey_file = "/k"\nsteps = [{ do = "set", attribute = "InstitutionName", value = "x" }]\n',
        b'[destinations.d]\nkind = "dicomweb"\nurl = "http://h"\n[storage]\nmin_free = "5 GiB"\n[tokens]\nkeys=""\n',
        b'[rules.x]\nattributes = [{ attribute = "Modality", one_of = ["CT"] }]\ndestinations = []\neach = "study"\n',
    ]


_DATA_SET = from_json(MODEL)


def names(data: bytes) -> None:
    """A text names an attribute, or is told why not; what it names is found again by what it is called then.

    As the template of a path it leads to a file in the folder, whatever the values are, for which it is taken too.
    """
    text = data.decode("utf-8", "replace")
    path_of(text)
    with contextlib.suppress(BadRequest):
        path = AttributePath.parse(text)
        assert AttributePath.parse(str(path)) == path
        list(path.attributes(_DATA_SET))
    for template in (text, "{PatientName}/{SOPInstanceUID}.dcm", "a{PatientID}{PatientName}"):
        with contextlib.suppress(ConfigurationError):
            made = Template.parse("here", template)
            for part in made.path({"PatientName": text, "SOPInstanceUID": text[::-1], "PatientID": text[1:]}):
                assert part.strip() == part not in ("", ".", "..")
                assert not set(part) & set("/\\\0")
                assert len(numbered(part, 12345).encode()) <= 255


def _name_seeds() -> list[bytes]:
    return [
        b"PatientName",
        b"RequestAttributesSequence[0].Modality",
        b"0008,1140.00081155",
        b"(0009,10,ACME 1.0)[3].PatientID",
        b"{PatientName}/{StudyDate}-{Modality}/con.dcm",
        b"../../etc/passwd",
        b"nul.txt ",
        b"a" * 250 + b".dcm",
        "Ä\u202e\u0000/..".encode(),
    ]


TARGETS = {"toml": Target(configurations, _configuration_seeds), "name": Target(names, _name_seeds)}
