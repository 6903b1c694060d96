"""Authority policies: what may be issued to a principal."""

from __future__ import annotations

from collections.abc import Sequence

from caracal import _operations as op
from caracal._async.calls_policies import AsyncPoliciesCalls
from caracal._wire import Call, renamed, writing
from caracal.models import Policy


class AsyncPolicies(AsyncPoliciesCalls):
    """Operations on authority policies."""

    async def create_policy(
        self,
        *,
        principal_id: str,
        allowed_actions: Sequence[str],
        max_validity_seconds: int,
        allowed_resources: Sequence[str] | None = None,
        delegation_depth: int | None = None,
        workspace_slug: str | None = None,
        idempotency_key: str | None = None,
        allowed_resource_patterns: Sequence[str] | None = None,
        max_delegation_depth: int | None = None,
    ) -> Policy:
        """Create an authority policy. Its creator consents in advance to be named as issuer under it.

        Args:
            principal_id: whom it bounds.
            allowed_actions: `read`, `write`, `execute`, or `*` for all three.
            max_validity_seconds: the longest that a mandate may hold.
            allowed_resources: patterns such as `api:external/*`.
            delegation_depth: how many times a mandate may be delegated further; not at all unless told.
            workspace_slug: the workspace; that of the key unless told.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
            allowed_resource_patterns: an older name of `allowed_resources`.
            max_delegation_depth: an older name of `delegation_depth`.
        """
        resources = renamed(
            "allowed_resources", allowed_resources, "allowed_resource_patterns", allowed_resource_patterns
        )
        if resources is None:
            raise TypeError("create_policy() needs allowed_resources")
        body = {
            "principal_id": principal_id,
            "allowed_resources": list(resources),
            "allowed_actions": list(allowed_actions),
            "max_validity_seconds": max_validity_seconds,
            "delegation_depth": renamed(
                "delegation_depth", delegation_depth, "max_delegation_depth", max_delegation_depth
            ),
            "workspace_slug": workspace_slug,
        }
        return await self._record(Policy, Call(op.CREATE_POLICY, body=body, headers=writing(idempotency_key)))

    async def update_policy(
        self,
        policy_id: str,
        *,
        allowed_resources: Sequence[str] | None = None,
        allowed_actions: Sequence[str] | None = None,
        max_validity_seconds: int | None = None,
        delegation_depth: int | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        allowed_resource_patterns: Sequence[str] | None = None,
        max_delegation_depth: int | None = None,
    ) -> Policy:
        """Change the fields that are given. Mandates that exist already keep what they were issued with.

        Args:
            policy_id: the policy.
            allowed_resources: patterns such as `api:external/*`.
            allowed_actions: `read`, `write`, `execute`, or `*` for all three.
            max_validity_seconds: the longest that a mandate may hold.
            delegation_depth: how many times a mandate may be delegated further.
            if_match: the `etag` of the policy as it was read; a policy that has changed since is left alone.
            idempotency_key: makes it happen once, however often it is called with the same key and arguments.
            allowed_resource_patterns: an older name of `allowed_resources`.
            max_delegation_depth: an older name of `delegation_depth`.

        Returns:
            The policy, as its next version.

        Raises:
            PreconditionFailed: it has changed since `if_match`.
        """
        resources = renamed(
            "allowed_resources", allowed_resources, "allowed_resource_patterns", allowed_resource_patterns
        )
        body = {
            "allowed_resources": list(resources) if resources is not None else None,
            "allowed_actions": list(allowed_actions) if allowed_actions is not None else None,
            "max_validity_seconds": max_validity_seconds,
            "delegation_depth": renamed(
                "delegation_depth", delegation_depth, "max_delegation_depth", max_delegation_depth
            ),
        }
        headers = writing(idempotency_key, if_match)
        return await self._record(Policy, Call(op.UPDATE_POLICY, path={"id": policy_id}, body=body, headers=headers))
