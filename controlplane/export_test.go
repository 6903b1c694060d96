package controlplane

import "time"

// ForgetImages has the next gateway that needs the whole state be sent it as it is then, and not an earlier one with what
// has changed since.
func (s *Service) ForgetImages() {
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	s.images.all = nil
}

// PollEvery sets how often the service looks for what other replicas changed. It is for before Run.
func (s *Service) PollEvery(interval time.Duration) { s.poll = interval }

// ForgetSteps has gateways that are behind be told what changed from what the database remembers.
func (s *Service) ForgetSteps() {
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	for _, i := range s.images.all {
		i.mu.Lock()
		i.steps = steps{}
		i.mu.Unlock()
	}
}
