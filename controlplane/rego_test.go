package controlplane

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/rego"
)

// It is inside the package because from outside nobody can tell how many versions are compiled at once.
func TestRegoPoliciesAreVettedAFewAtATime(t *testing.T) {
	s := &Service{vetting: make(chan struct{}, maxVetting)}
	for range maxVetting {
		s.vetting <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var refused *authority.Error
	if err := s.vet(ctx, rego.Source{}); !errors.As(err, &refused) || refused.Code != authority.CodeLimited {
		t.Errorf("with %d under way: %v", maxVetting, err)
	}
	<-s.vetting
	if err := s.vet(t.Context(), rego.Source{}); err != nil {
		t.Errorf("once one has ended: %v", err)
	}
	if len(s.vetting) != maxVetting-1 {
		t.Errorf("%d tokens are left behind", len(s.vetting)-maxVetting+1)
	}
}
