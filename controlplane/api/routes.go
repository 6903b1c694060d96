package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/controlplane"
)

// route is one operation at one path.
type route struct {
	method, path string
	do           operation
	// whileRestored operations are answered also while the database is known to be restored from a backup.
	whileRestored bool
	// open operations ask for no credential, or find it themselves.
	open bool
	// wait is how long the operation may wait beyond requestTimeout, because its caller asks it to.
	wait time.Duration
	convention
}

// routes is the whole interface, in the order of the OpenAPI document.
func (h *Handler) routes() []route {
	return slices.Concat(h.workspaceRoutes(), h.authorityRoutes(), h.identityRoutes(), h.gatewayRoutes())
}

// root is what all paths begin with but those of probes.
const root = "/api/v1/"

// workspaceRoutes are the interface itself, and the tenants.
func (h *Handler) workspaceRoutes() []route {
	s := h.service
	return []route{
		{method: http.MethodGet, path: "/health", do: h.health, open: true, whileRestored: true},
		{method: http.MethodGet, path: "/ready", do: h.ready, open: true, whileRestored: true},
		{method: http.MethodGet, path: root + "openapi.json", do: h.openAPI, open: true, whileRestored: true},
		{method: http.MethodGet, path: root + "docs", do: h.docs, open: true, whileRestored: true},
		{method: http.MethodGet, path: root + "docs/{file}", do: h.docs, open: true, whileRestored: true},
		{method: http.MethodPost, path: root + "token", do: h.token, open: true},
		{method: http.MethodGet, path: root + "workspaces", do: listAll(s.Workspaces)},
		{method: http.MethodPost, path: root + "workspaces", do: h.createWorkspace},
		{method: http.MethodGet, path: root + "workspaces/{id}", do: find(s.Workspace)},
		{method: http.MethodPatch, path: root + "workspaces/{id}", do: inside(edit(s.UpdateWorkspace))},
		{method: http.MethodDelete, path: root + "workspaces/{id}", do: inside(h.deleteWorkspace), wait: controlplane.MaxRevocationWait},
		{method: http.MethodPost, path: root + "workspaces/{id}/archive", do: inside(change(s.ArchiveWorkspace))},
		{method: http.MethodPost, path: root + "workspaces/{id}/unarchive", do: inside(change(s.UnarchiveWorkspace))},
		{method: http.MethodPost, path: root + "workspaces/{id}/restore", do: inside(change(s.RestoreWorkspace))},
		{method: http.MethodGet, path: root + "workspaces/{id}/usage", do: inside(h.usage)},
	}
}

// authorityRoutes are who may do what, and what may be reached.
func (h *Handler) authorityRoutes() []route {
	s := h.service
	return slices.Concat(
		collection("principals", list(principalFilter, s.Principals), create(s.RegisterPrincipal)),
		[]route{
			{method: http.MethodGet, path: root + "principals/{id}", do: find(s.Principal)},
			{method: http.MethodPatch, path: root + "principals/{id}", do: edit(s.UpdatePrincipal)},
			{method: http.MethodPost, path: root + "principals/{id}/suspend", do: h.suspend, wait: controlplane.MaxRevocationWait},
			{method: http.MethodPost, path: root + "principals/{id}/resume", do: change(s.ResumePrincipal)},
		},
		collection("policies", list(policyFilter, s.Policies), create(s.CreatePolicy)),
		[]route{
			{method: http.MethodGet, path: root + "policies/{id}", do: find(s.Policy)},
			{method: http.MethodPatch, path: root + "policies/{id}", do: edit(s.UpdatePolicy)},
			{method: http.MethodPost, path: root + "policies/{id}/deactivate", do: change(s.DeactivatePolicy)},
			{method: http.MethodPost, path: root + "policies/{id}/join", do: change(s.JoinPolicy)},
		},
		collection("mandates", list(mandateFilter, h.mandates), create(h.issue)),
		[]route{
			{method: http.MethodPost, path: root + "mandates/validate", do: h.validate},
			{method: http.MethodGet, path: root + "mandates/{id}", do: find(h.mandate)},
			{method: http.MethodPost, path: root + "mandates/{id}/delegate", do: h.delegate},
			{method: http.MethodPost, path: root + "mandates/{id}/revoke", do: h.revoke, wait: controlplane.MaxRevocationWait},
		},
		h.receiptRoutes(),
		collection("destinations", list(destinationFilter, s.Destinations), accepting(create(s.CreateDestination))),
		[]route{
			{method: http.MethodPost, path: root + "workspaces/{workspace}/destinations/test", do: h.testDestination},
			{method: http.MethodPost, path: root + "destinations/test", do: h.testDestination},
			{method: http.MethodGet, path: root + "destinations/{id}", do: find(s.Destination)},
			{method: http.MethodPut, path: root + "destinations/{id}", do: accepting(edit(s.UpdateDestination))},
			{method: http.MethodDelete, path: root + "destinations/{id}", do: accepting(change(s.DeleteDestination))},
		},
		collection("rego-versions", list(regoFilter, s.RegoVersions), create(s.PushRego)),
		[]route{
			{method: http.MethodGet, path: root + "rego-versions/{id}", do: find(s.RegoVersion)},
			{method: http.MethodPost, path: root + "rego-versions/{id}/activate", do: change(s.ActivateRego)},
		},
	)
}

// identityRoutes are how anybody is known: members, keys, and those who vouch for workloads.
func (h *Handler) identityRoutes() []route {
	s := h.service
	return slices.Concat(
		collection("members", list(memberFilter, s.Members), create(s.AddMember)),
		[]route{
			{method: http.MethodGet, path: root + "members/{id}", do: find(s.Member)},
			{method: http.MethodPatch, path: root + "members/{id}", do: edit(s.UpdateMember)},
			{method: http.MethodDelete, path: root + "members/{id}", do: change(s.RemoveMember)},
		},
		h.signInRoutes(),
		collection("keys", list(keyFilter, s.Keys), create(s.CreateKey)),
		[]route{
			{method: http.MethodGet, path: root + "keys/{id}", do: find(s.Key)},
			{method: http.MethodPost, path: root + "keys/{id}/rotate", do: h.rotate},
			{method: http.MethodPost, path: root + "keys/{id}/revoke", do: change(s.RevokeKey)},
		},
		collection("client-authorities", listAll(s.ClientAuthorities), create(s.CreateClientAuthority)),
		[]route{
			{method: http.MethodGet, path: root + "client-authorities/{id}", do: find(s.ClientAuthority)},
			{method: http.MethodPut, path: root + "client-authorities/{id}", do: edit(s.UpdateClientAuthority)},
			{method: http.MethodDelete, path: root + "client-authorities/{id}", do: change(s.DeleteClientAuthority)},
		},
		collection("signing-keys", listAll(s.SigningKeys), nil),
		[]route{
			{method: http.MethodPost, path: root + "signing-keys/rotate", do: h.rotateSigningKeys},
			{method: http.MethodPost, path: root + "workspaces/{workspace}/signing-keys/rotate", do: h.rotateSigningKeys},
			{method: http.MethodGet, path: root + "signing-keys/{id}", do: find(s.SigningKey)},
			{method: http.MethodPost, path: root + "signing-keys/{id}/revoke", do: change(s.RevokeSigningKey)},
		},
		[]route{
			{method: http.MethodGet, path: root + "workspaces/{workspace}/inspection-ca", do: single(s.InspectionCA)},
			{method: http.MethodGet, path: root + "inspection-ca", do: single(s.InspectionCA)},
		},
		collection("issuers", listAll(s.Issuers), create(s.CreateIssuer)),
		[]route{
			{method: http.MethodGet, path: root + "issuers/{id}", do: find(s.Issuer)},
			{method: http.MethodPut, path: root + "issuers/{id}", do: edit(s.UpdateIssuer)},
			{method: http.MethodDelete, path: root + "issuers/{id}", do: change(s.DeleteIssuer)},
			{method: http.MethodPost, path: root + "issuers/{id}/refresh", do: change(s.RefreshIssuer)},
		},
	)
}

// gatewayRoutes are the gateways and what happened.
func (h *Handler) gatewayRoutes() []route {
	s := h.service
	return slices.Concat(
		collection("gateways", listAll(s.Gateways), nil),
		[]route{
			{method: http.MethodGet, path: root + "gateways/{id}", do: find(s.Gateway)},
			{method: http.MethodPost, path: root + "gateways/{id}/revoke", do: h.revokeGateway, wait: controlplane.MaxRevocationWait},
			{method: http.MethodPost, path: root + "gateways/{id}/forget", do: edit(s.ForgetGateway)},
			{method: http.MethodGet, path: root + "workspaces/{workspace}/events", do: h.events, wait: exportTimeout},
			{method: http.MethodGet, path: root + "events", do: h.events, wait: exportTimeout},
			{method: http.MethodGet, path: root + "workspaces/{workspace}/events/stream", do: h.stream, wait: streamTime},
			{method: http.MethodGet, path: root + "events/stream", do: h.stream, wait: streamTime},
			{method: http.MethodGet, path: root + "events/{id}", do: find(s.Event)},
		},
	)
}

// collection is reached under its workspace, and without it, where the key or the body says which is meant.
func collection(name string, get, post operation) []route {
	var rs []route
	for _, path := range []string{root + "workspaces/{workspace}/" + name, root + name} {
		rs = append(rs, route{method: http.MethodGet, path: path, do: get})
		if post != nil {
			rs = append(rs, route{method: http.MethodPost, path: path, do: post})
		}
	}
	return rs
}
