package lease

// Kept is what a gateway keeps on disk of its lease, so that it can go on after a restart without the control plane.
type Kept struct {
	// BootID is the host's since it started; the clock since boot means nothing under another.
	BootID string
	// Gateway is the id of the gateway that the lease was granted to.
	Gateway string
	// State is what the gateway enforced when it kept the lease.
	State Position
	// Sent is when the renewal was sent: a clock that says less is another one.
	Sent Reading
	// Lease is the one that was granted.
	Lease Lease
}

// Resume is the lease that a starting process goes on with, false for none. bootID and gateway are the host's and its
// own; state is what it found kept, which it has to enforce before it decides. What it would enforce is at least what it
// enforced when it kept the lease; what it has acknowledged since then is kept as Acknowledgeable has it.
func (k Kept) Resume(bootID, gateway string, state Position, now Reading) (Lease, bool) {
	same := k.BootID == bootID && bootID != "" && k.Gateway == gateway && gateway != ""
	onward := state.Timeline == k.State.Timeline && state.Revision >= k.State.Revision
	turnedBack := now.Boot < k.Sent.Boot || now.Wall.Round(0).Before(k.Sent.Wall.Round(0))
	if !same || !onward || turnedBack || !k.Lease.Holds(now) {
		return Lease{}, false
	}
	return k.Lease, true
}

// Acknowledgeable reports whether a gateway that enforces a state may say so. Whoever hears it relies on the gateway never
// deciding from an older one, a restart notwithstanding: either the state itself is on disk, or none that a process could
// start from, or no lease by which it could go on.
func Acknowledgeable(enforced, kept Position, leaseKept bool) bool {
	return !leaseKept || kept == enforced || kept == Position{}
}
