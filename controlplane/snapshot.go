package controlplane

// Subscribe wakes its receiver after each committed change of the caller's workspace, within a second for changes of
// other replicas while Run runs. Wake-ups coalesce. The caller must call cancel.
func (s *Service) Subscribe(c Caller) (wake <-chan struct{}, cancel func()) {
	return s.changes.subscribe(c.workspace)
}
