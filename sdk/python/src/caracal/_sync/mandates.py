# Generated from caracal._sync by generate/sync.py; change that.

"""What both clients have: asking for mandates, and everything that is done with one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from caracal import _operations as op
from caracal import errors
from caracal._sync.calls_mandates import MandatesCalls
from caracal._sync.connection import log
from caracal._sync.runtime import shielded
from caracal._wire import Call, patience, writing
from caracal.models import AccessToken, Mandate, Receipt, ValidationAnswer

# How long one request waits for a receipt, in seconds; there may be several.
RECEIPT_WAIT = 30.0


class Mandates(MandatesCalls):
    """Operations on mandates."""

    def request_mandate(
        self,
        *,
        issuer_id: str,
        subject_id: str,
        resource_scope: Sequence[str],
        action_scope: Sequence[str],
        validity_seconds: int,
        valid_from: str | None = None,
        confirmation: Mapping[str, str] | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
    ) -> Mandate:
        """Ask for a mandate.

        Through a gateway the answer comes when that gateway enforces the mandate, so that it can be used at once.

        Args:
            issuer_id: the principal that grants; it has consented by a policy, or is the caller.
            subject_id: the principal that may act; with an agent's key the agent itself.
            resource_scope: patterns such as `api:external/*`.
            action_scope: `read`, `write`, `execute`, or `*` for all three.
            validity_seconds: how long it holds.
            valid_from: when it begins, as RFC 3339 text; now unless told.
            confirmation: binds it to a client certificate, as `confirmation_of` tells it; to none unless told.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Raises:
            AuthorityRefused: the rules do not allow it; `reason` says which, such as `no_policy_covers`.
            InvalidRequest: an argument is malformed; `field` says which.
        """
        body = {
            "issuer_id": issuer_id,
            "subject_id": subject_id,
            "resource_scope": list(resource_scope),
            "action_scope": list(action_scope),
            "validity_seconds": validity_seconds,
            "valid_from": valid_from,
            "confirmation": None if confirmation is None else dict(confirmation),
            "workspace_slug": workspace_slug,
        }
        return self._record(Mandate, Call(op.ISSUE_MANDATE, body=body, headers=writing(idempotency_key)))

    def request_token(
        self,
        *,
        mandate_id: str | None = None,
        lifetime_seconds: int | None = None,
        cnf: Mapping[str, str] | None = None,
    ) -> AccessToken:
        """Exchange the API key for an access token, to hand on; `token()` keeps one for this client's own use.

        A token that is bound to a mandate may present that mandate and no other, and may not issue, delegate or revoke
        anything or get another token. It ends with its mandate.

        Args:
            mandate_id: a mandate of the caller's own that holds now; the token is bound to none unless told.
            lifetime_seconds: for how long it is asked; 900 unless told, and at most that, or 86400 with a mandate.
            cnf: binds it to a client certificate, as `confirmation_of` tells it; to none unless told.

        Returns:
            The token. It is a credential: do not print or keep it.

        Raises:
            AuthorityRefused: the mandate does not hold, or was issued to somebody else; `reason` says which.
            NotFound: the caller has no such mandate.
        """
        body = {
            "mandate_id": mandate_id,
            "lifetime_seconds": lifetime_seconds,
            "cnf": None if cnf is None else dict(cnf),
        }
        return self._record(AccessToken, Call(op.EXCHANGE_TOKEN, body=body))

    def validate_mandate(
        self,
        *,
        mandate_id: str,
        requested_action: str,
        requested_resource: str,
        presenter_token: str | None = None,
        presenter_id: str | None = None,
        presenter_confirmation: Mapping[str, str] | None = None,
    ) -> ValidationAnswer:
        """Ask whether a mandate covers one action on one resource.

        That it does not is an answer, too: `allowed` is False then, and `denial_reason` says why.

        Args:
            mandate_id: the mandate.
            requested_action: `read`, `write` or `execute`.
            requested_resource: one resource, without `*`.
            presenter_token: for a service that asks: the access token of who presented the mandate to it.
            presenter_id: for a service that asks: the principal that presented it, where there is no token.
            presenter_confirmation: for a service that asks: the client certificate that was shown to it.

        Raises:
            InvalidRequest: the resource is a pattern, or malformed.
            UnexpectedAnswer: the answer contradicts itself; take it for a denial.
        """
        body = {
            "mandate_id": mandate_id,
            "requested_action": requested_action,
            "requested_resource": requested_resource,
            "presenter_token": presenter_token,
            "presenter_id": presenter_id,
            "presenter_confirmation": None if presenter_confirmation is None else dict(presenter_confirmation),
        }
        answer = self._record(ValidationAnswer, Call(op.VALIDATE_MANDATE, body=body))
        if answer.allowed != (answer.decision == "allowed"):
            raise errors.UnexpectedAnswer("the server's validation contradicts itself")
        return answer

    def delegate_authority(
        self,
        *,
        parent_mandate_id: str,
        child_principal_id: str,
        resource_scope: Sequence[str],
        action_scope: Sequence[str],
        validity_seconds: int,
        confirmation: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Mandate:
        """Cut a child from a mandate. It can only narrow, and ends with its parent.

        Args:
            parent_mandate_id: the mandate to cut from; the caller is its subject.
            child_principal_id: the principal that may act under the child.
            resource_scope: patterns that the parent's cover.
            action_scope: actions that the parent has.
            validity_seconds: how long the child holds; not beyond the parent's end.
            confirmation: binds it to a client certificate, as `confirmation_of` tells it; as its parent unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The child mandate.

        Raises:
            AuthorityRefused: the child would exceed its parent or what its principal may be given; `reason` says how.
            NotFound: there is no such parent for the caller.
        """
        body = {
            "child_principal_id": child_principal_id,
            "resource_scope": list(resource_scope),
            "action_scope": list(action_scope),
            "validity_seconds": validity_seconds,
            "confirmation": None if confirmation is None else dict(confirmation),
        }
        call = Call(op.DELEGATE_MANDATE, path={"id": parent_mandate_id}, body=body, headers=writing(idempotency_key))
        return self._record(Mandate, call)

    def revoke_mandate(
        self, mandate_id: str, *, wait: float | None = None, idempotency_key: str | None = None
    ) -> Receipt:
        """Revoke a mandate and everything that was delegated from it.

        Args:
            mandate_id: the mandate.
            wait: seconds to wait until it is in force at every gateway, up to 120; 10 unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.

        Returns:
            The receipt. `state` is `enforced` once no gateway lets the mandate pass, from `effective_at` on, and
            `pending` while that is not known of one; `wait_for_receipt` follows it. The revocation is committed either
            way.

        Raises:
            NotFound: there is no such mandate for the caller.
        """
        call = Call(
            op.REVOKE_MANDATE,
            path={"id": mandate_id},
            body={"wait": wait},
            headers=writing(idempotency_key),
            patience=patience(wait),
        )
        return self._record(Receipt, call)

    def get_receipt(self, receipt_id: str, *, wait: float | None = None) -> Receipt:
        """One receipt in its present state.

        Args:
            receipt_id: which receipt.
            wait: seconds to wait while it is pending, up to 120; 0 unless told.

        Raises:
            NotFound: there is no such receipt for the caller.
        """
        call = Call(op.GET_RECEIPT, path={"id": receipt_id}, query={"wait": wait}, patience=patience(wait))
        return self._record(Receipt, call)

    def wait_for_receipt(self, receipt_id: str, *, timeout: float | None = None) -> Receipt:
        """Wait until a receipt is not pending any more.

        Args:
            receipt_id: which receipt.
            timeout: seconds to wait at most; without end unless told.

        Returns:
            The receipt. `state` is `enforced`, or `withdrawn` where it was undone before it was in force everywhere; it
            is still `pending` when the time is over.

        Raises:
            NotFound: there is no such receipt for the caller.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = RECEIPT_WAIT if deadline is None else min(RECEIPT_WAIT, max(deadline - time.monotonic(), 0.0))
            receipt = self.get_receipt(receipt_id, wait=left)
            if receipt.state != "pending" or (deadline is not None and time.monotonic() >= deadline):
                return receipt

    @contextmanager
    def mandate(
        self,
        *,
        issuer_id: str,
        subject_id: str,
        resource_scope: Sequence[str],
        action_scope: Sequence[str],
        validity_seconds: int,
        valid_from: str | None = None,
        confirmation: Mapping[str, str] | None = None,
        workspace_slug: str | None = None,
    ) -> Iterator[Mandate]:
        """A mandate for the length of a `with` block; it is revoked at its end, also when the block raises.

        A revocation that fails raises, unless the block raises already: then it is logged, as the mandate ends by its
        validity. The arguments are those of `request_mandate`.
        """
        held = self.request_mandate(
            issuer_id=issuer_id,
            subject_id=subject_id,
            resource_scope=resource_scope,
            action_scope=action_scope,
            validity_seconds=validity_seconds,
            valid_from=valid_from,
            confirmation=confirmation,
            workspace_slug=workspace_slug,
        )
        try:
            yield held
        except BaseException:
            self._give_back(held)
            raise
        self.revoke_mandate(held.mandate_id)

    def _give_back(self, held: Mandate) -> None:
        try:
            with shielded(2 * self._timeout):
                self.revoke_mandate(held.mandate_id)
                return
            log.warning("mandate %s was not revoked in time and holds until %s", held.mandate_id, held.valid_until)
        except errors.CaracalError as error:
            log.warning("mandate %s was not revoked and holds until %s: %s", held.mandate_id, held.valid_until, error)
