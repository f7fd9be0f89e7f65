"""Hypothesis strategies for the PDUs of PS3.8, well-formed ones."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from gateway.ul import items, pdu

uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: "1." + ".".join(map(str, parts)))
aets = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=16)
bytes16 = st.integers(0, 0xFFFF)
context_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)

roles = st.builds(items.RoleSelection, uids, st.booleans(), st.booleans())
extended = st.builds(items.ExtendedNegotiation, uids, st.binary(min_size=1, max_size=20))
common = st.builds(items.CommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=3))
identities = st.one_of(
    st.builds(
        items.UserIdentity,
        st.sampled_from([1, 3, 4, 5]),
        st.binary(min_size=1, max_size=40),
        st.just(b""),
        st.booleans(),
    ),
    st.builds(items.UserIdentity, st.just(2), st.binary(min_size=1, max_size=40), st.binary(min_size=1), st.booleans()),
)
lengths = st.one_of(st.just(0), st.integers(items.MIN_MAX_LENGTH, 0xFFFFFFFF))


def user_information(*, accept: bool) -> st.SearchStrategy[items.UserInformation]:
    return st.builds(
        items.UserInformation,
        max_length=lengths,
        implementation_class_uid=uids,
        implementation_version_name=aets,
        operations=st.none() | st.builds(items.AsynchronousOperations, bytes16, bytes16),
        roles=st.lists(roles, max_size=3, unique_by=lambda role: role.sop_class_uid),
        extended=st.lists(extended, max_size=2),
        common_extended=st.just([]) if accept else st.lists(common, max_size=2),
        identity=st.none() if accept else st.none() | identities,
        identity_response=st.none() | st.binary(min_size=1, max_size=30) if accept else st.none(),
    )


proposed = st.builds(items.ProposedContext, context_ids, uids, st.lists(uids, min_size=1, max_size=4))
results = st.builds(items.ContextResult, context_ids, st.integers(0, 4), uids)

requests = st.builds(
    pdu.AssociateRQ,
    aets,
    aets,
    st.lists(proposed, min_size=1, max_size=6, unique_by=lambda context: context.id),
    user_information(accept=False),
)
accepts = st.builds(
    pdu.AssociateAC,
    aets,
    aets,
    st.lists(results, min_size=1, max_size=6, unique_by=lambda context: context.id),
    user_information(accept=True),
)
values = st.builds(pdu.PDV, context_ids, st.booleans(), st.booleans(), st.binary(max_size=300))
data = st.builds(pdu.PData, st.lists(values, min_size=1, max_size=4))
rejections = st.builds(pdu.AssociateRJ, st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))
aborts = st.builds(pdu.Abort, st.sampled_from([0, 2]), st.integers(0, 6))
any_pdu = st.one_of(requests, accepts, rejections, data, st.just(pdu.ReleaseRQ()), st.just(pdu.ReleaseRP()), aborts)
