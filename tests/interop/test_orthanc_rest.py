"""Every call of Orthanc's REST API: asked of a live Orthanc and of the gateway with the same data, compared by field.

The calls are read from Orthanc itself, so that none is forgotten. Prints how many answers are equal, what differs and
what is missing; both are accounted for in `orthanc_rest.toml`, with the reasons.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.web.routes import declared
from tests.support import peers
from tests.support.datasets import samples
from tests.support.processes import Gateway, Peer, orthanc

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SAMPLES = (
    *("CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtplan.dcm", "liver_1frame.dcm"),
    *("SC_rgb_rle_2frame.dcm", "693_J2KI.dcm", "examples_palette.dcm", "chrArab.dcm", "chrX2.dcm", "chrH31.dcm"),
    *("6154", "6924", "5641", "IM000001", "IM000004", "image_dfl.dcm", "waveform_ecg.dcm", "JPGExtended.dcm"),
)
KNOWN = tomllib.loads(Path(__file__).with_name("orthanc_rest.toml").read_text())
LEVELS = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}
BELOW = {kind: list(LEVELS)[at + 1 :] for at, kind in enumerate(LEVELS)}
ABOVE = {kind: list(LEVELS.values())[:at] for at, kind in enumerate(LEVELS)}
OF_EACH = ("", "/statistics", "/module", "/metadata", "/metadata?expand", "/attachments")
OF_PARENTS = ("/shared-tags", "/shared-tags?simplify", "/shared-tags?short", "/instances-tags?short")
OF_INSTANCES = (
    *("/tags", "/tags?short", "/tags?simplify", "/tags?ignore-length=0008-1030", "/simplified-tags", "/header"),
    *("/content", "/content/0008-1030", "/content/PatientName", "/content/0010-1002", "/content/0010-1002/0"),
    *("/content/0010-1002/0/0010-0020", "/content/7fe0-0010", "/content/7fe0-0010/0", "/content/7fe0-0010/1"),
    *("/content/0010-9999", "/frames", "/frames/0", "/frames/0/raw", "/file", "/metadata/TransferSyntax"),
    *("/metadata/9", "/metadata/1024", "/metadata/nonsense", "/attachments/dicom", "/attachments/dicom/size"),
    *("/preview", "/rendered", "/rendered?width=50", "/rendered?height=300&smooth=1", "/rendered?width=30&smooth=1"),
    *("/rendered?window-center=50&window-width=200", "/rendered?width=a", "/image-uint8", "/image-uint16"),
    *("/image-int16", "/numpy", "/numpy?rescale=0", "/numpy?compress=1", "/numpy?compress=x", "/matlab", "/pdf"),
    *("/frames/0/preview", "/frames/0/rendered", "/frames/0/image-uint8", "/frames/0/numpy", "/frames/0/matlab"),
    *("/frames/0/raw.gz", "/frames/1/preview", "/frames/999/preview", "/frames/x/preview", "/preview?quality=a"),
    *("/attachments/dicom/md5", "/attachments/dicom/is-compressed", "/attachments/dicom/info"),
)
PLAIN = (
    *("/system", "/statistics", "/plugins", "/tools", "/tools/now", "/tools/now-local", "/tools/default-encoding"),
    *("/tools/generate-uid?level=study", "/tools/dicom-conformance", "/tools/accepted-transfer-syntaxes"),
    *("/tools/unknown-sop-class-accepted", "/plugins/nonsense", "/tools/generate-uid?level=nonsense"),
    *("/studies?since=1", "/studies?limit=1", "/studies?since=a&limit=1", "/studies?since=0&limit=0"),
)
FOUND: tuple[Any, ...] = (
    *({}, {"Level": "Study"}, {"Level": "Foo", "Query": {}}, {"Level": "Study", "Query": {"Foo": "x"}}, [1]),
    *({"Level": level, "Query": {}} for level in ("Patient", "Study", "Series", "Instance", "studies", "IMAGE")),
    *({"Level": "Study", "Query": {"PatientID": "1ct1"}, "CaseSensitive": each} for each in (True, False)),
    *({"Level": "Study", "Query": {"PatientID": "1CT1"}, "Expand": True, name: True} for name in ("Full", "Short")),
    *({"Level": "Series", "Query": {"Modality": value}} for value in ("CT", "CT\\MR", "C*", "M?")),
    *({"Level": "Study", "Query": {"StudyDate": value}} for value in ("2004-", "20040101-20041231", "-2000", "2004")),
    *({"Level": "Series", "Query": {"Modality": "CT"}, "Limit": value} for value in (-1, "2")),
    {"Level": "Study", "Query": {"PatientID": 5}},
    {"Level": "Study", "Query": {"PatientName": "compressed*"}},
    {"Level": "Study", "Query": {"ModalitiesInStudy": "CT"}},
    {"Level": "Instance", "Query": {"Rows": "128"}},
    {"Level": "Instance", "Query": {"ImageType": "*AXIAL*"}},
    {"Level": "Study", "Query": {"0010,0020": "1CT*"}},
)

BULKY: tuple[Any, ...] = (
    [],
    {},
    {"Resources": "x"},
    {"Resources": [1]},
    {"Resources": []},
    {"Resources": [], "Level": "x"},
)
"""Bodies of bulk-content and, as far as nothing is deleted, of bulk-delete."""
ARCHIVED: tuple[Any, ...] = (
    *({}, {"Resources": "x"}, {"Resources": [1]}, {"Resources": ["nope"]}, ["nope"]),
    {"Resources": [], "Transcode": "nonsense"},
)


def ask(base: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and what is answered: JSON decoded, anything else as bytes."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, data, method=method), timeout=30) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, decoded(text)


def decoded(content: bytes) -> Any:
    """The pixels of pictures and arrays, and what is in gzip; anything else as it is."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if content.startswith(b"\x89PNG"):
        pixels = np.asarray(Image.open(io.BytesIO(content)))
    elif content.startswith(b"\x93NUMPY"):
        pixels = np.load(io.BytesIO(content))
    elif content.startswith(b"PK") and zipfile.ZipFile(io.BytesIO(content)).namelist()[0].startswith("arr_0"):
        pixels = np.load(io.BytesIO(content))["arr_0"]
    else:
        return content
    return {"shape": list(pixels.shape), "type": str(pixels.dtype), "pixels": pixels.tobytes()}


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """The paths of members that are not the same."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            if name in theirs and name in ours:
                yield from differences(theirs[name], ours[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for one, other in zip(theirs, ours, strict=True):
            yield from differences(one, other, f"{path}/#")
    elif theirs != ours:
        yield path or "/"


def compared(theirs: tuple[int, Any], ours: tuple[int, Any]) -> list[str]:
    """What differs between two answers."""
    if theirs[0] != ours[0]:
        return ["/status"]
    if theirs[0] >= 400 and not isinstance(theirs[1], dict):
        return [] if theirs[1] == ours[1] else ["/body of an error"]
    return list(differences(theirs[1], ours[1]))


def known(kind: str, call: str, field: str = "") -> int | None:
    """The number of the entry that accounts for it."""
    for number, each in enumerate(KNOWN[kind]):
        if fnmatchcase(call, each["call"]) and (kind == "missing" or fnmatchcase(field, each["field"])):
            return number
    return None


def plain(path: str) -> str:
    """A path without its query, public ids and numbers as `#`."""
    path = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", "#", path.partition("?")[0])
    return re.sub(r"/\d+(?=/|$)", "/#", path)


def in_any_order(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Matches come in an order of each one's own."""
    status, found = answer
    return status, sorted(found, key=str) if isinstance(found, list) else found


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Peer, Gateway]]:
    environment = {"GATEWAY_DICOM__ACCEPT_UNKNOWN_SOP_CLASSES": "true", "GATEWAY_DICOMWEB__DELETE": "true"}
    with Gateway(tmp_path / "data", environment=environment) as gateway, orthanc(tmp_path / "orthanc") as peer:
        files = {path.name: path for path in samples()}
        for name in SAMPLES:
            data = files[name].read_bytes()
            statuses = [ask(base, "POST", "/instances", data)[0] for base in (peer.url, gateway.url)]
            assert statuses == [200, 200], name
        yield peer, gateway


def calls(base: str) -> Iterator[tuple[str, str, Any]]:
    """Method, path and body of what is compared."""
    yield from (("GET", path, None) for path in PLAIN)
    for kind in LEVELS:
        identifiers = ask(base, "GET", f"/{kind}")[1]
        yield from (("GET", f"/{kind}?expand&since={at}&limit=1", None) for at in range(0, len(identifiers), 5))
        for each in (*identifiers, "0-0"):
            path = f"/{kind}/{each}"
            below = [f"/{name}" for name in (*BELOW[kind], *ABOVE[kind])]
            more = OF_INSTANCES if kind == "instances" else OF_PARENTS
            if kind == "series":
                more = (*more, "/ordered-slices", "/numpy", "/numpy?rescale=0")
            extra = ("/module-patient",) if kind == "studies" else ("/protected",) if kind == "patients" else ()
            yield from (("GET", path + name, None) for name in (*OF_EACH, *below, *more, *extra))
    yield from (("POST", "/tools/find", body) for body in FOUND)
    yield from (("POST", "/tools/lookup", body) for body in (b"1CT1", b"1ct1", b"nonsense", b""))
    study = f"/studies/{ask(base, 'GET', '/studies')[1][0]}"
    for name in ("1024", "LastUpdate", "70000"):
        yield from (("PUT", f"{study}/metadata/{name}", b"x"), ("GET", f"{study}/metadata/{name}", None))
        yield "DELETE", f"{study}/metadata/{name}", None
    yield "PUT", "/studies/0-0/metadata/1024", b"x"
    for kind in LEVELS:
        yield from attaching(f"/{kind}/{ask(base, 'GET', f'/{kind}')[1][0]}/attachments")
    yield "PUT", "/studies/0-0/attachments/1024", b"x"
    first = ask(base, "GET", "/patients")[1][0]
    yield from (("POST", "/tools/bulk-content", body) for body in (*BULKY, {"Resources": [first, "nope", first]}))
    for level in ("Patient", "Study", "Series", "Instance"):
        yield "POST", "/tools/bulk-content", {"Resources": [first], "Level": level, "Short": level != "Series"}
    yield from (("POST", "/tools/bulk-delete", body) for body in BULKY[:4])
    yield from (("POST", f"/tools/create-{name}", body) for name in ("archive", "media") for body in ARCHIVED)
    yield from (("GET", f"/{kind}/0-0/{name}", None) for kind in list(LEVELS)[:3] for name in ("archive", "media"))
    yield "GET", "/jobs/0-0/archive", None
    patient = f"/patients/{ask(base, 'GET', '/patients')[1][0]}/protected"
    yield from (("PUT", patient, b"1"), ("GET", patient, None), ("PUT", patient, b"x"), ("PUT", patient, b"0"))


def attaching(path: str) -> Iterator[tuple[str, str, Any]]:
    """Calls that attach something to a resource, read it in every way, and take it away."""
    yield from (("PUT", f"{path}/{name}", b"attached") for name in ("1024", "65535", "1023", "65536", "dicom"))
    yield "GET", path, None
    yield "GET", f"{path}?full", None
    for name in ("1024", "1025", "nonsense"):
        parts = (
            "compressed-data",
            "compressed-md5",
            "compressed-size",
            "data",
            "info",
            "is-compressed",
            "md5",
            "size",
            "uuid",
        )
        yield from (("GET", f"{path}/{name}{part}", None) for part in ("", *(f"/{part}" for part in parts)))
    for name in ("1024", "1025", *(["dicom"] if path.startswith("/instances") else [])):
        yield from (("POST", f"{path}/{name}/{each}", b"") for each in ("verify-md5", "uncompress", "compress"))
    yield from (("DELETE", f"{path}/{name}", None) for name in ("1024", "1024", "65535", "dicom"))
    yield "GET", path, None


def test_answers(both: tuple[Peer, Gateway]) -> None:
    peer, gateway = both
    equal, differing, used = 0, Counter[str](), set[int]()
    unknown = []
    for method, path, body in list(calls(peer.url)):
        theirs, ours = ask(peer.url, method, path, body), ask(gateway.url, method, path, body)
        if path == "/tools/find" and "Expand" not in str(body):
            theirs, ours = in_any_order(theirs), in_any_order(ours)
        call = f"{method} {plain(path)}"
        fields = compared(theirs, ours)
        equal += not fields
        for field in fields:
            field = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", "#", field)
            entry = known("differs", call, field)
            if entry is None:
                unknown.append(f"{call} {field} ({path}, {body!r}): {str(theirs)[:150]} | {str(ours)[:150]}")
            else:
                used.add(entry)
                differing[f"{call}: {KNOWN['differs'][entry]['reason'].splitlines()[0]}"] += 1
    print(f"equal: {equal} answers")
    for line, count in sorted(differing.items()):
        print(f"differs: {count:>5} x {line}")
    assert not unknown, f"{len(unknown)} not accounted for:\n" + "\n".join(unknown[:30])
    idle = [each for at, each in enumerate(KNOWN["differs"]) if at not in used and not each.get("sometimes")]
    assert not idle, f"accounted for, but there is no such difference: {idle}"


def test_no_call_is_forgotten(tmp_path: Path) -> None:
    target = tmp_path / "openapi.json"
    (tmp_path / "configuration.json").write_text("{}")
    command = [peers.need("orthanc"), f"--openapi={target}", str(tmp_path / "configuration.json")]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    document = json.loads(target.read_text())
    theirs = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    # Orthanc asks a server of its makers for samples, and leaves calls out of the document for which it gets none.
    theirs |= {" ".join(call) for call in re.findall(r"Exception while documenting (\w+) ([^\s:]+)", done.stderr)}
    assert {"GET /studies", "POST /tools/find"} <= theirs
    ours = {f"{route.method} {_named(route.path)}" for route in declared()}
    wanted = {call: f"{call.partition(' ')[0]} {_named(call.partition(' ')[2])}" for call in theirs}
    absent = sorted(call for call, name in wanted.items() if name not in ours)
    used = {known("missing", call) for call in absent}
    for call in absent:
        entry = known("missing", call)
        print(f"missing: {call}" + ("" if entry is None else f": {KNOWN['missing'][entry]['reason']}"))
    assert None not in used, [call for call in absent if known("missing", call) is None]
    idle = [each for number, each in enumerate(KNOWN["missing"]) if number not in used]
    assert not idle, f"said to be missing, but it is not: {idle}"


def _named(path: str) -> str:
    """A path with all its parameters called the same."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def test_archives(both: tuple[Peer, Gateway], tmp_path: Path) -> None:
    """The same folders and files, and a DICOMDIR that DCMTK reads and goes on with."""
    peer, gateway = both
    patients = ask(peer.url, "GET", "/patients")[1]
    names = [
        set(zipfile.ZipFile(io.BytesIO(ask(base, "POST", "/tools/create-archive", patients)[1])).namelist())
        for base in (peer.url, gateway.url)
    ]
    assert {name.replace("Unknown Patient/", "/") for name in names[1]} == names[0]
    medium = tmp_path / "medium"
    zipfile.ZipFile(io.BytesIO(ask(gateway.url, "POST", "/tools/create-media", patients)[1])).extractall(medium)
    new = {path.name: path for path in samples()}["CT_small.dcm"].read_bytes()
    (medium / "IMAGES" / "NEW").write_bytes(
        new.replace(b"1.3.6.1.4.1.5962.1.1.1.1.1.2004", b"1.3.6.1.4.1.5962.1.1.1.1.9.2004")
    )
    command = [peers.need("dcmmkdir"), "--update", "-Pgp", "+D", "DICOMDIR", "IMAGES/NEW"]
    done = subprocess.run(command, cwd=medium, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    command = [peers.need("dcmdump"), "+P", "ReferencedFileID", str(medium / "DICOMDIR")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) == len(names[1]) + 1
