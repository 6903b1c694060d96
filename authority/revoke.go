package authority

// MayRevoke reports as an error why the caller may not revoke the first mandate of the chain; the chain is that mandate
// first and its root last. Its issuer, its subject, the subject of an ancestor, an operator and whoever administers the
// workspace may.
func MayRevoke(caller Principal, chain []Mandate) error {
	if len(chain) == 0 {
		return NotFound("mandate")
	}
	if err := admitCaller(caller, chain[0].WorkspaceID); err != nil {
		return err
	}
	if caller.Administers() || caller.Type == User && caller.Role == RoleOperator || caller.ID == chain[0].IssuerID {
		return nil
	}
	for _, m := range chain {
		if caller.ID == m.SubjectID {
			return nil
		}
	}
	return Forbidden("a mandate is revoked by its issuer, its subject, the subject of an ancestor, an operator or an admin of the workspace")
}
