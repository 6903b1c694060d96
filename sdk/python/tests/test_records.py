from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caracal.errors import UnexpectedAnswer
from caracal.models import (
    AccessToken,
    CreatedWorkspace,
    Event,
    Mandate,
    OpenedSession,
    Receipt,
    RegisteredPrincipal,
    SignInLink,
    ValidationAnswer,
)
from caracal.records import Record, build

MANDATE = {"mandate_id": "mdt_x", "resource_scope": ["api:a"], "revoked": False, "revoked_at": None, "level": 0}


def test_a_field_is_an_item_and_an_attribute() -> None:
    mandate = build(Mandate, MANDATE)
    assert mandate["mandate_id"] == mandate.mandate_id == "mdt_x"
    assert mandate.resource_scope == ["api:a"]
    assert json.loads(json.dumps(mandate)) == MANDATE
    assert {**mandate} == MANDATE


def test_what_is_inside_knows_its_fields_as_well() -> None:
    receipt = build(Receipt, {"state": "pending", "gateways": [{"gateway_id": "gtw_x", "enforced_at": None}]})
    assert receipt.gateways[0].gateway_id == "gtw_x"
    assert receipt["gateways"][0].enforced_at is None
    workspace = build(CreatedWorkspace, {"owner": {"principal_id": "prn_x"}, "settings": {"event_retention_days": 3}})
    assert (workspace.owner.principal_id, workspace.settings.event_retention_days) == ("prn_x", 3)


def test_a_field_that_may_be_missing_is_none_and_one_that_is_unknown_is_an_error() -> None:
    event = build(Event, {"event_id": "evt_x"})
    assert event.policy_code is None
    assert event.request is None
    with pytest.raises(AttributeError, match="Event has no field 'polcy_code'; it has event_id"):
        _ = event.polcy_code  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = event.time  # every event has one, but this


def test_fields_of_a_newer_server_are_there() -> None:
    assert build(Mandate, {**MANDATE, "colour": "red"})["colour"] == "red"


def test_copies_are_as_good_as_the_original() -> None:
    mandate = build(Mandate, MANDATE)
    for copied in (copy.copy(mandate), copy.deepcopy(mandate), pickle.loads(pickle.dumps(mandate))):  # noqa: S301
        assert copied == mandate
        assert copied.mandate_id == "mdt_x"


def test_secrets_are_not_printed() -> None:
    principal = build(RegisteredPrincipal, {"principal_id": "prn_x", "api_key": "ck_agent_canary"})
    nested = [principal, {"p": principal}]
    for text in (repr(principal), str(principal), f"{principal}", f"{nested}", "%s" % principal, format(principal)):  # noqa: UP031
        assert "canary" not in text
        assert "prn_x" in text
    assert principal.api_key == "ck_agent_canary"
    for kind, name in ((AccessToken, "access_token"), (OpenedSession, "session_token"), (SignInLink, "url")):
        whole = {name: "canary", **({"expires_in": 1} if kind is AccessToken else {})}
        assert "canary" not in repr(build(kind, whole))


@pytest.mark.parametrize(
    ("sentence", "kind", "answer"),
    [
        ("a list", Mandate, []),
        ("a text", Mandate, "mandate"),
        ("nothing", Mandate, None),
        ("a number where a text is", Mandate, {"mandate_id": 5}),
        ("a text where a list is", Mandate, {"resource_scope": "api:a"}),
        ("a list of something else", Mandate, {"resource_scope": [1]}),
        ("a truth where a number is", Mandate, {"level": True}),
        ("null where there is always something", Mandate, {"mandate_id": None}),
        ("a text that says true", ValidationAnswer, {"allowed": "true", "decision": "allowed"}),
        ("a number that is true", ValidationAnswer, {"allowed": 1, "decision": "allowed"}),
        ("no answer at all", ValidationAnswer, {}),
        ("something else inside", Receipt, {"gateways": [{"gateway_id": []}]}),
    ],
)
def test_other_types_than_caracal_gives_are_refused(sentence: str, kind: type[Record], answer: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        build(kind, answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.dictionaries(
    st.sampled_from(["allowed", "decision", "mandate_id", "gateways", "settings", "owner", "items", "x"]), JSON
)


@given(answer=JSON | NAMED, kind=st.sampled_from([Mandate, ValidationAnswer, Receipt, Event, CreatedWorkspace]))
def test_whatever_is_answered_becomes_a_record_or_an_error_of_ours(answer: object, kind: type[Record]) -> None:
    try:
        record = build(kind, answer)
    except UnexpectedAnswer:
        return
    assert dict(record) == answer
    if isinstance(record, ValidationAnswer):
        assert type(record.allowed) is bool
