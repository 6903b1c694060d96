"""Everything that the SDK raises is a `CaracalError`.

`except CaracalError` is therefore enough; the classes below it say what can be done about an error. No message holds a
credential.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthenticationFailed",
    "AuthorityRefused",
    "CaracalError",
    "Conflict",
    "Denied",
    "EnterpriseClientRequired",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "PreconditionFailed",
    "RateLimited",
    "ServerError",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]


class CaracalError(Exception):
    """What went wrong, as Caracal tells it.

    Attributes:
        code: the stable name of the kind of error, such as `not_found`.
        message: one sentence for a person: what is wrong and, where there is a way, how to mend it.
        field: the field, parameter or header that is to blame, such as `resource_scope[0]`.
        reason: the rule that refused, such as `scope_exceeds_parent`.
        status: the status of the HTTP answer; None where there was none.
        request_id: finds the request in the server's log.
        retry_after: seconds after which the server asked to try again.
        problems: what is wrong in a pushed Rego policy, each with `file`, `row`, `col`, `code` and `message`.
        changes: which traffic a change of the catalog would give another meaning that live mandates may cover, and the
            `digest` that accepts it as `accept_changes`; None for any other error.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        reason: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        problems: list[dict[str, object]] | None = None,
        changes: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.reason = reason
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.problems = problems or []
        self.changes = changes

    def __str__(self) -> str:
        text = f"{self.reason or self.code}: {self.message}"
        if self.field:
            text += f" (field {self.field})"
        if self.request_id:
            text += f" [request {self.request_id}]"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is made again from its arguments alone; the rest is its state.
        return (self.__class__, (self.message,), self.__dict__)


class InvalidRequest(CaracalError):
    """The request is malformed, out of bounds or unknown (400); `field` names what."""

    default_code = "invalid_request"


class AuthenticationFailed(CaracalError):
    """No valid credential was presented (401): it is wrong, expired or revoked, and the server does not say which."""

    default_code = "unauthenticated"


class PermissionDenied(CaracalError):
    """The caller is known, and may not (403)."""

    default_code = "forbidden"


class NotFound(CaracalError):
    """It is absent, or not the caller's to see (404)."""

    default_code = "not_found"


class Conflict(CaracalError):
    """The present state is in the way (409)."""

    default_code = "conflict"


class PreconditionFailed(Conflict):
    """The thing has changed since it was read (412): read it again, and repeat the change on that."""

    default_code = "precondition_failed"


class AuthorityRefused(CaracalError):
    """The request is well-formed, but the rules of authority refuse it (422); `reason` names the rule."""

    default_code = "refused"


class RateLimited(CaracalError):
    """Too many requests (429), also after the SDK's own attempts; `retry_after` says when to come again."""

    default_code = "rate_limited"


class Unavailable(CaracalError):
    """The server cannot do its work at the moment (502, 503, 504), also after the SDK's own attempts."""

    default_code = "unavailable"


class ServerError(CaracalError):
    """The server failed (any other 5xx); `request_id` finds the failure in its log."""

    default_code = "internal_error"


class Unreachable(CaracalError):
    """There was no answer: no connection, or not in time, also after the SDK's own attempts.

    A write may still have happened. Repeat it with the same `idempotency_key` to have it once.
    """

    default_code = "unreachable"


class UnexpectedAnswer(CaracalError):
    """The answer is not one of Caracal's: something else answers at this address, or answers in between."""

    default_code = "unexpected_answer"


class EnterpriseClientRequired(CaracalError):
    """`AuthorityClient` does not have this feature; `EnterpriseClient` does.

    Attributes:
        feature: the name of the method.
    """

    default_code = "enterprise_client_required"

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"{feature} is a feature of the enterprise SDK. Use EnterpriseClient of caracal.enterprise.sdk with the "
            "control plane's URL and a member's key; an agent's key and a gateway's URL are not enough."
        )
        self.feature = feature

    def __reduce__(self) -> tuple[object, ...]:
        return (self.__class__, (self.feature,), self.__dict__)


class Denied(CaracalError):
    """A gateway denied a request that was to go to a target.

    Attributes:
        decision_id: finds the decision, as in `caracal event show <decision_id>`; None where the gateway's proxy
            refused a malformed message by itself.
        policy_code: the code of the workspace's own Rego policy, with the reasons `policy_denied` and
            `approval_required`.
    """

    default_code = "denied"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        status: int | None = None,
        decision_id: str | None = None,
        policy_code: str | None = None,
    ) -> None:
        super().__init__(message, code=reason, reason=reason, status=status)
        self.decision_id = decision_id
        self.policy_code = policy_code

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text} [decision {self.decision_id}]" if self.decision_id else text
