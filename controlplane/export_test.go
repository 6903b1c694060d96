package controlplane

// ForgetImages has the next gateway that needs the whole state be sent it as it is then, and not an earlier one with what
// has changed since.
func (s *Service) ForgetImages() {
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	s.images.all = nil
}
