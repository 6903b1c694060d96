package extauthz

import (
	"github.com/caracal-gateway/caracal/authority"
)

// Bounds of what is kept of requests that are watched. Whoever runs into one is denied.
const (
	// maxKept is what one request may take, in bytes: its target, its credential and the headers that policies see.
	maxKept = 16 << 10
	// maxKeptBytes is what all of them may take.
	maxKeptBytes = 256 << 20
	// maxLive is how many requests may be watched at a time.
	maxLive = 50_000
	// maxTunnels is how many of them may be tunnels. One takes 68 kB of Envoy and 28 kB here: all take 2 GB.
	maxTunnels = 20_000
	// eachCaller is the part of all that is one caller's at most: whatever it does, most is left for the others.
	eachCaller = 4
)

// Room is how much may be live at a time.
type Room struct {
	// Requests is how many requests may be watched, tunnels among them.
	Requests int
	// Tunnels is how many tunnels may be open.
	Tunnels int
	// Bytes is what may be kept of all of them to judge them again.
	Bytes int
}

// fits reports whether nothing of it is more than there is of another.
func (r Room) fits(in Room) bool {
	return r.Requests <= in.Requests && r.Tunnels <= in.Tunnels && r.Bytes <= in.Bytes
}

func (r Room) plus(o Room) Room {
	return Room{r.Requests + o.Requests, r.Tunnels + o.Tunnels, r.Bytes + o.Bytes}
}

func (r Room) minus(o Room) Room {
	return Room{r.Requests - o.Requests, r.Tunnels - o.Tunnels, r.Bytes - o.Bytes}
}

// rooms is how much of what may be live is taken, from the permission of each request to its end, and by whom.
type rooms struct {
	each  Room // what one caller may take
	taken Room // by all
	by    map[authority.PrincipalID]Room
}

// newRooms makes one of which each caller may take so much; the zero value is for its share of what there is.
func newRooms(each Room) rooms {
	if each == (Room{}) {
		each = Room{maxLive / eachCaller, maxTunnels / eachCaller, maxKeptBytes / eachCaller}
	}
	return rooms{each: each, by: map[authority.PrincipalID]Room{}}
}

// take takes what a request needs, or all of it is refused.
func (r *rooms) take(p *permitted) error {
	need := p.room()
	own, all := r.by[p.caller].plus(need), r.taken.plus(need)
	switch {
	case own.Tunnels > r.each.Tunnels:
		return deny(authority.ReasonLiveLimit, "The caller has %d tunnels open, as many as one caller may have at this gateway.", r.each.Tunnels)
	case !own.fits(r.each):
		return because(authority.ReasonLiveLimit)
	case !all.fits(Room{maxLive, maxTunnels, maxKeptBytes}):
		return deny(authority.ReasonNoDecision, "The gateway watches as many live requests as it can.")
	}
	r.by[p.caller], r.taken = own, all
	return nil
}

// give gives back what a request has taken. Nothing is left of a caller that has nothing live.
func (r *rooms) give(p *permitted) {
	need := p.room()
	r.taken = r.taken.minus(need)
	if own := r.by[p.caller].minus(need); own != (Room{}) {
		r.by[p.caller] = own
	} else {
		delete(r.by, p.caller)
	}
}

// room is what a request takes while it is live.
func (p *permitted) room() Room {
	r := Room{Requests: 1, Bytes: p.size}
	if p.connects {
		r.Tunnels = 1
	}
	return r
}
