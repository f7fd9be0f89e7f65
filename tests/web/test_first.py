"""gateway/web/pages/first.py: the command that the empty page suggests would be accepted."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from gateway.config import Http, Modality, Settings, User
from tests.support.web import House
from tests.web.test_middlewares import ANNA, basic

CT = {"aet": "CT1"}


@pytest.mark.case("the empty page suggests a command that this gateway accepts")
@pytest.mark.parametrize(
    ("dicom", "modalities", "begin"),
    [
        ({}, {}, "storescu -v -aec GATEWAY 127.0.0.1 4242 image.dcm"),
        ({}, {"ct": CT}, "storescu -v -aet CT1 -aec GATEWAY 127.0.0.1 4242 image.dcm"),
        ({}, {"ct": {**CT, "host": "10.0.0.5"}}, "curl --data-binary @image.dcm http://"),
        ({}, {"ct": {**CT, "host": "127.0.0.0/8"}}, "storescu -v -aet CT1 -aec"),
        ({}, {"ct": {**CT, "host": "ct1.example.org"}}, "curl --data-binary"),
        ({}, {"ct": {**CT, "allow": ["find"]}}, "curl --data-binary"),
        ({}, {"dcmtk": {"aet": "STORESCU"}}, "storescu -v -aec GATEWAY"),
        ({}, {"ct": {**CT, "tls": True, "host": "10.0.0.5"}}, "curl --data-binary"),
        ({"allow_any_caller": True}, {"ct": CT}, "storescu -v -aec GATEWAY"),
        ({"host": "0.0.0.0", "allow_any_caller": True, "any_caller_may": ["echo"]}, {}, "curl --data-binary"),
        ({"user_identity": "required"}, {}, "curl --data-binary"),
        ({"aet": "IT'S OURS"}, {}, "storescu -v -aec 'IT'\"'\"'S OURS' 127.0.0.1"),
    ],
)
async def test_it_would_be_accepted(gateway: House, dicom: dict[str, Any], modalities: dict[str, Any], begin: str):
    made = msgspec.convert({"dicom": dicom, "modalities": modalities}, Settings)
    gateway.dicom, gateway.modalities = made.dicom, dict(made.modalities)
    assert (await suggestion(gateway)).startswith(begin)


async def test_an_upload_names_the_reader(gateway: House):
    gateway.http = Http(users=(ANNA, User(name="bob", password=ANNA.password)))
    gateway.modalities = {"ct": Modality(aet="CT1", host="10.0.0.5")}
    found = await suggestion(gateway, authorization=basic("geheim"))
    assert found.startswith("curl -u anna --data-binary @image.dcm http://")
    assert found.endswith("/instances")


async def suggestion(gateway: House, **headers: str) -> str:
    answer = await gateway.get("/ui/", **headers)
    assert answer.status == 200
    found = re.search(r'<code id="first">([^<]*)</code>', await answer.text())
    assert found is not None
    return found[1].replace("&#39;", "'").replace("&#34;", '"').replace("&quot;", '"')
