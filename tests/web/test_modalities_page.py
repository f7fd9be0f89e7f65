"""The page of modalities as the server renders it: the form, the doctor, and what the other side asked of us."""

from __future__ import annotations

from typing import Any

from gateway.config import Modality
from gateway.net.association_record import AssociationRecord, ContextRecord
from tests.support.nodes import IMPLICIT, asked_node
from tests.support.web import House

VERIFICATION = "1.2.840.10008.1.1"


def record(number: int = 1, **fields: Any) -> AssociationRecord:
    """A record of an association of CT1 that was released."""
    known: dict[str, Any] = {
        "calling_aet": "CT1",
        "called_aet": "GATEWAY",
        "host": "10.1.2.3",
        "since": 1000.0,
        "ended_at": 1001.0,
        "outcome": "released",
        "detail": "",
        "code": "",
        "modality": "",
        "user": "",
        "tls": "",
        "max_length": 0,
        "implementation": "1.2.3 TEST",
        "instances": 1,
        "bytes": 5,
        "refused": 0,
        "refusal": "",
        "echoes": 0,
        "contexts": (ContextRecord(1, VERIFICATION, (IMPLICIT,), 1, 0, IMPLICIT),),
    }
    return AssociationRecord(number=number, **(known | fields))


async def post(gateway: House, **form: str) -> tuple[int, str]:
    ours = {"Origin": f"http://{gateway.client.host}:{gateway.client.port}"}
    answer = await gateway.client.post("/ui/modalities", data=form, headers=ours, allow_redirects=False)
    return answer.status, await answer.text()


async def page(gateway: House, query: str = "", language: str = "en") -> str:
    answer = await gateway.get(f"/ui/modalities{query}", accept_language=language)
    assert answer.status == 200
    return await answer.text()


class TestForm:
    async def test_kept_and_tried_at_once(self, gateway: House):
        async with asked_node({VERIFICATION: [IMPLICIT]}) as asked:
            port = str(asked.node.port)
            status, text = await post(
                gateway, what="save", name="ct1", aet="PEER", host="127.0.0.1", port=port, store="on", echo="on"
            )
        assert status == 200
        assert "The connection works." in text
        assert "It answers C-ECHO." in text
        kept = await gateway.json("/modalities/ct1/configuration")
        assert (kept["AET"], kept["Host"], kept["Port"]) == ("PEER", "127.0.0.1", int(port))
        assert (kept["AllowStore"], kept["AllowFind"], kept["UseDicomTls"]) == (True, False, False)
        assert gateway.use_cases.settings().modalities["ct1"].allow == ("echo", "store")

    async def test_what_fails_is_kept_too(self, gateway: House):
        form = {"aet": "PEER", "host": "127.0.0.1", "port": "1"}
        status, text = await post(gateway, what="save", name="ct1", **form)
        assert status == 200
        assert "Something is wrong." in text
        assert "Nothing listens on port 1 of 127.0.0.1" in text
        assert "ct1" in await gateway.json("/modalities")
        _, again = await post(gateway, what="check", name="ct1")
        assert "Nothing listens on port 1" in again

    async def test_nonsense_is_said_and_not_lost(self, gateway: House):
        status, text = await post(gateway, what="save", name="ct1", aet="TOO LONG AN AE TITLE", host="h", port="104")
        assert status == 200
        assert "Not kept: AET" in text
        assert 'value="TOO LONG AN AE TITLE"' in text
        assert await gateway.json("/modalities") == []

    async def test_removed(self, gateway: House):
        await post(gateway, what="save", name="ct1", aet="PEER", host="127.0.0.1", port="1")
        status, _ = await post(gateway, what="remove", name="ct1")
        assert status == 303
        assert await gateway.json("/modalities") == []

    async def test_one_of_the_file_is_not_changed_here(self, gateway: House):
        gateway.modalities = {"ct1": Modality(aet="CT1", host="10.1.2.3", port=104)}
        text = await page(gateway, "?name=ct1")
        assert "stands in the configuration file" in text
        assert 'value="save"' not in text
        assert 'value="check"' in text
        _, text = await post(gateway, what="save", name="ct1", aet="OTHER", host="h", port="104")
        assert "Not kept" in text

    async def test_nothing_entered_is_markup(self, gateway: House):
        _, text = await post(gateway, what="save", name='"><script>', aet="<b>", host="<i>", port="x")
        assert "<script>alert" not in text
        assert '"><script>' not in text
        assert "<b>" not in text

    async def test_an_unknown_button(self, gateway: House):
        assert (await post(gateway, what="explode", name="x"))[0] == 400
        assert (await post(gateway, what="check", name="x"))[0] == 404


class TestIncoming:
    async def test_what_to_enter_at_the_other_side(self, gateway: House):
        gateway.modalities = {"ct1": Modality(aet="CT1", host="10.1.2.3", port=104)}
        text = await page(gateway, "?name=ct1")
        assert "Nothing has come from there yet." in text
        assert "AE title GATEWAY" in text
        assert "port 4242" in text

    async def test_a_refused_call_says_why(self, gateway: House):
        gateway.modalities = {"ct1": Modality(aet="CT1", host="10.1.2.3", port=104)}
        why = "'CT2' at 10.1.2.3 is no modality"
        gateway.records = [
            record(2, calling_aet="CT2", outcome="rejected", code="1.1.3", detail=why, contexts=()),
            record(1, echoes=1),
            record(0, outcome="rejected", code="1.1.7", called_aet="OLD"),
        ]
        text = await page(gateway, "?name=ct1")
        assert "We have rejected CT2 at 10.1.2.3 as unknown" in text
        assert "Enter the modality here with exactly the AE title CT2" in text
        assert "CT1 at 10.1.2.3 has sent a C-ECHO" in text
        assert "OLD" not in text, "what went wrong before all was well is over"
        assert 'href="/ui/associations/2"' in text
        assert "C-ECHO" in await page(gateway, "?name=ct1", "ja")

    async def test_every_finding_has_words(self, gateway: House):
        gateway.modalities = {"ct1": Modality(aet="CT1", host="10.1.2.3", port=104)}
        for fields in (
            {"outcome": "failed", "code": "tls", "calling_aet": ""},
            {"outcome": "failed", "code": "plain", "calling_aet": ""},
            {"outcome": "failed", "code": "handshake", "calling_aet": ""},
            {"outcome": "rejected", "code": "1.1.7"},
            {"outcome": "rejected", "code": "2.3.2"},
            {"outcome": "rejected", "code": "1.1.1"},
            {"outcome": "rejected", "code": "2.3.1"},
            {"contexts": (ContextRecord(1, "1.2.3", (IMPLICIT,), 1, 3, ""),)},
            {"refused": 2, "refusal": "it cannot be read"},
            {"outcome": "closed", "instances": 0},
            {},
        ):
            gateway.records = [record(**fields)]
            assert 'class="findings"' in await page(gateway, "?name=ct1")


class TestAssociation:
    async def test_matrix(self, gateway: House):
        gateway.records = [
            record(
                7,
                outcome="released",
                contexts=(
                    ContextRecord(1, VERIFICATION, (IMPLICIT,), 1, 0, IMPLICIT),
                    ContextRecord(3, "1.2.840.10008.5.1.4.1.1.2", (IMPLICIT,), 20, 4, "", "scu scp"),
                    ContextRecord(5, "1.2.3", (), 0, 3, ""),
                ),
            )
        ]
        answer = await gateway.get("/ui/associations/7")
        text = await answer.text()
        assert answer.status == 200
        for shown in (
            "Verification SOP Class",
            "CT Image Storage",
            "Implicit VR Little Endian",
            "and 19 more",
            "SCU SCP",
        ):
            assert shown in text
        assert "this SOP class is not taken here" in text
        assert "none of these transfer syntaxes is taken here" in text

    async def test_gone(self, gateway: House):
        assert (await gateway.get("/ui/associations/8")).status == 404

    async def test_over_rest(self, gateway: House):
        gateway.records = [record(7)]
        (found,) = await gateway.json("/associations/records")
        assert (found["Number"], found["Outcome"], found["Contexts"][0]["Result"]) == (7, "released", 0)
