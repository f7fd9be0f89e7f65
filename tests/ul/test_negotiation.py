"""PS3.8 §7.1.1 and PS3.7 D.3.3: what is agreed on."""

from __future__ import annotations

import pytest

from gateway.ul import negotiation
from gateway.ul.items import (
    AsynchronousOperations,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserInformation,
)
from gateway.ul.pdu import AssociateAC, AssociateRQ
from tests.support.links import CT, EXPLICIT, IMPLICIT, VERIFICATION, a_request

J2K = "1.2.840.10008.1.2.4.90"


def request(*contexts: ProposedContext, roles: list[RoleSelection] | None = None) -> AssociateRQ:
    return a_request(contexts=list(contexts), user_information=UserInformation(roles=roles or []))


class TestPS38_9_3_3_2_Results:
    def test_the_first_of_the_proposers_order_that_we_take(self) -> None:
        answer = negotiation.negotiate(
            request(ProposedContext(1, CT, [J2K, EXPLICIT, IMPLICIT])), {CT: [IMPLICIT, EXPLICIT]}
        )
        assert answer == [ContextResult(1, 0, EXPLICIT)]

    def test_a_preference_decides_among_those_we_take(self) -> None:
        seen = []

        def prefer(uid: str, common: list[str]) -> str:
            seen.append((uid, common))
            return common[-1]

        proposed = request(ProposedContext(1, CT, [J2K, EXPLICIT, IMPLICIT]))
        assert negotiation.negotiate(proposed, {CT: [IMPLICIT, EXPLICIT]}, prefer=prefer)[0].transfer_syntax == IMPLICIT
        assert seen == [(CT, [EXPLICIT, IMPLICIT])]

    def test_abstract_syntax_not_supported(self) -> None:
        answer = negotiation.negotiate(request(ProposedContext(7, "1.2.3", [J2K])), {CT: [EXPLICIT]})
        assert answer == [ContextResult(7, 3, J2K)]

    def test_transfer_syntaxes_not_supported(self) -> None:
        proposed = request(ProposedContext(1, CT, [J2K]), ProposedContext(3, CT, []))
        assert negotiation.negotiate(proposed, {CT: [EXPLICIT]}) == [
            ContextResult(1, 4, J2K),
            ContextResult(3, 4, IMPLICIT),
        ]

    @pytest.mark.parametrize(("answer", "result"), [([EXPLICIT], 0), (None, 3), ([], 4)])
    def test_unknown_abstract_syntaxes_are_asked_about(self, answer: list[str] | None, result: int) -> None:
        proposed = request(ProposedContext(1, "1.2.3", [EXPLICIT]))
        assert negotiation.negotiate(proposed, {}, on_unknown=lambda uid: answer)[0].result == result

    def test_every_context_is_answered_in_order(self) -> None:
        proposed = request(*[ProposedContext(n, CT if n % 4 == 1 else "1.2", [EXPLICIT]) for n in range(255, 0, -2)])
        assert [r.id for r in negotiation.negotiate(proposed, {CT: [EXPLICIT]})] == list(range(255, 0, -2))


class TestPS37_D_3_3_4_Roles:
    @pytest.mark.parametrize(
        ("asked", "we_are_scu", "we_are_scp", "granted", "result"),
        [
            ((True, True), True, True, (True, True), 0),
            ((True, True), False, True, (True, False), 0),
            ((False, True), True, True, (False, True), 0),
            ((False, True), False, True, (False, False), 1),
            ((True, False), True, True, (True, False), 0),
            ((True, False), True, False, (False, False), 1),
            ((True, True), True, False, (False, True), 0),
            ((False, False), True, True, (False, False), 1),
            (None, True, True, None, 0),
            (None, True, False, None, 1),
        ],
    )
    def test_what_is_granted(self, asked, we_are_scu, we_are_scp, granted, result) -> None:
        roles = [RoleSelection(CT, *asked)] if asked else []
        proposed = request(ProposedContext(1, CT, [EXPLICIT]), roles=roles)
        policy = {"as_scu": {CT} if we_are_scu else set(), "not_as_scp": set() if we_are_scp else {CT}}
        results = negotiation.negotiate(proposed, {CT: [EXPLICIT]}, **policy)
        assert results[0].result == result
        answered = negotiation.answer_roles(proposed, results, **policy)
        assert answered == ([RoleSelection(CT, *granted)] if granted and result == 0 else [])

    def test_only_accepted_contexts_are_answered_for(self) -> None:
        proposed = request(ProposedContext(1, "1.2.3", [EXPLICIT]), roles=[RoleSelection("1.2.3", True, True)])
        results = negotiation.negotiate(proposed, {})
        assert negotiation.answer_roles(proposed, results, as_scu={"1.2.3"}) == []

    @pytest.mark.parametrize(
        ("asked", "answered", "requestor"),
        [
            (None, None, (True, False)),
            ((True, True), None, (True, False)),
            (None, (True, True), (True, False)),
            ((True, True), (True, True), (True, True)),
            ((False, True), (True, True), (False, True)),
            ((True, True), (False, True), (False, True)),
        ],
    )
    def test_what_each_side_may_be(self, asked, answered, requestor) -> None:
        proposed = request(
            ProposedContext(1, CT, [EXPLICIT]), roles=[RoleSelection(CT, *asked)] if asked is not None else []
        )
        user = UserInformation(roles=[RoleSelection(CT, *answered)] if answered is not None else [])
        answer = AssociateAC("A", "B", [ContextResult(1, 0, EXPLICIT)], user)
        (theirs,) = negotiation.accepted_contexts(proposed, answer, requestor=True).values()
        (ours,) = negotiation.accepted_contexts(proposed, answer, requestor=False).values()
        assert (theirs.as_scu, theirs.as_scp) == (ours.as_scp, ours.as_scu) == requestor


def test_answers_to_what_was_not_proposed_are_left_out() -> None:
    proposed = a_request()
    results = [
        ContextResult(1, 0, EXPLICIT),
        ContextResult(3, 0, IMPLICIT),
        ContextResult(5, 0, IMPLICIT),
        ContextResult(7, 3),
    ]
    contexts = negotiation.accepted_contexts(proposed, AssociateAC("A", "B", results), requestor=True)
    assert contexts == {3: negotiation.PresentationContext(3, CT, IMPLICIT, as_scu=True, as_scp=False)}
    refused = AssociateAC("A", "B", [ContextResult(1, 1, IMPLICIT)])
    assert negotiation.accepted_contexts(proposed, refused, requestor=True) == {}
    assert proposed.contexts[0].abstract_syntax == VERIFICATION


@pytest.mark.parametrize(
    ("proposed", "ours", "answer"),
    [((5, 1), (8, 1), (5, 1)), ((0, 0), (8, 1), (8, 1)), ((0, 3), (0, 0), (0, 3)), ((9, 9), (8, 2), (8, 2))],
)
def test_PS37_D_3_3_3_the_smaller_window(proposed, ours, answer) -> None:
    assert negotiation.answer_operations(AsynchronousOperations(*proposed), *ours) == AsynchronousOperations(*answer)


def test_no_window_asked_none_given() -> None:
    assert negotiation.answer_operations(None, 8, 8) is None


def test_PS38_9_3_4_application_context() -> None:
    assert negotiation.refusal(a_request()) is None
    assert negotiation.refusal(a_request(application_context="1.2")) == (1, 1, 2)


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        ((1, 1, 7), "rejected permanently: called AE title not recognized"),
        ((2, 3, 2), "rejected for now: local limit exceeded"),
        ((9, 8, 7), "rejected (result 9): source 8, reason 7"),
    ],
)
def test_a_rejection_in_words(rejection: tuple[int, int, int], words: str) -> None:
    assert negotiation.describe_rejection(*rejection) == words
