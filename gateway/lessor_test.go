package gateway_test

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// lessor is the part of a control plane that grants leases, for one gateway.
type lessor struct {
	mu          sync.Mutex
	term        time.Duration
	number      uint64
	renewals    []*syncpb.Renewal
	surrendered []uint64
	// instead, if set, answers renewals in place of a grant.
	instead func(*syncpb.Renewal) []*syncpb.ControlMessage
}

// hear answers what a gateway says of its lease.
func (l *lessor) hear(m *syncpb.GatewayMessage) []*syncpb.ControlMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := m.GetSurrender(); s != nil {
		l.surrendered = append(l.surrendered, s.GetLease())
	}
	renewal := m.GetRenewal()
	if renewal == nil {
		return nil
	}
	l.renewals = append(l.renewals, renewal)
	if l.instead != nil {
		return l.instead(renewal)
	}
	l.number++
	return []*syncpb.ControlMessage{grant(renewal.GetId(), l.number, l.term)}
}

// answer changes how renewals are answered from now on; nil is by grants of the term.
func (l *lessor) answer(instead func(*syncpb.Renewal) []*syncpb.ControlMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instead = instead
}

// offer changes the term of the grants to come.
func (l *lessor) offer(term time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = term
}

// heard is every renewal so far, and how many leases were granted.
func (l *lessor) heard() (renewals []*syncpb.Renewal, granted uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.renewals), l.number
}

func (l *lessor) surrenders() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.surrendered)
}

func grant(renewal, number uint64, term time.Duration) *syncpb.ControlMessage {
	return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Grant{Grant: &syncpb.Grant{Renewal: renewal, Lease: number, Term: durationpb.New(term)}}}
}

func withhold(renewal, revision uint64, message string) *syncpb.ControlMessage {
	return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Withheld{Withheld: &syncpb.Withheld{Renewal: renewal, Revision: revision, Message: message}}}
}

// silence answers nothing.
func silence(*syncpb.Renewal) []*syncpb.ControlMessage { return nil }
