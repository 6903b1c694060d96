from __future__ import annotations

import inspect
import pickle

import pytest

from caracal import errors
from caracal.errors import CaracalError, Denied, EnterpriseClientRequired
from caracal.sdk import AuthorityClient

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CaracalError)]


def test_every_error_is_exported_and_has_a_code() -> None:
    assert sorted(kind.__name__ for kind in ALL) == sorted(errors.__all__)
    codes = [kind.default_code for kind in ALL]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    "error",
    [
        CaracalError("m", code="c", field="f", reason="r", status=400, request_id="q", retry_after=1.0),
        Denied("m", reason="policy_denied", status=403, decision_id="d", policy_code="p"),
        EnterpriseClientRequired("query_events"),
    ],
)
def test_errors_survive_another_process(error: CaracalError) -> None:
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copied) is type(error)
    assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_an_error_says_what_to_blame_and_where_to_look() -> None:
    error = errors.InvalidRequest("it is too long", field="name", request_id="req_1", status=400)
    assert str(error) == "invalid_request: it is too long (field name) [request req_1]"


@pytest.mark.parametrize(
    "feature", ["query_events", "register_principal", "create_policy", "push_rego", "list_workspaces"]
)
def test_the_core_client_says_which_client_has_the_feature(feature: str) -> None:
    client = AuthorityClient(base_url="http://localhost:1", api_key="ck_agent_x")
    with pytest.raises(EnterpriseClientRequired, match=rf"{feature} is a feature .*caracal\.enterprise\.sdk") as raised:
        getattr(client, feature)(workspace_slug="my-team")
    assert raised.value.feature == feature
    assert raised.value.code == "enterprise_client_required"


def test_what_no_client_has_is_an_attribute_error() -> None:
    client = AuthorityClient(base_url="http://localhost:1", api_key="ck_agent_x")
    assert not hasattr(client, "quer_events")
    assert not hasattr(client, "_private")
    with pytest.raises(AttributeError, match="AuthorityClient has no attribute"):
        _ = client.nothing  # type: ignore[attr-defined]
