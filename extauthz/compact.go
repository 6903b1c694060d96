package extauthz

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
)

// compact is a mandate without pointers, so that a million of them cost little memory and the collector nothing. What
// mandates have in common is in a glossary and known here by its number.
type compact struct {
	id, parent                 key
	issuer, subject, requester uint32
	terms, scope, bond, end    uint32
	from, until                uint32 // seconds since 1970
	delegated                  bool   // there is a parent
	created                    int64  // microseconds since 1970
	signature                  [ed25519.SignatureSize]byte
	digest                     bundle.Digest // of the item
}

// terms are what all mandates of one policy and level share.
type terms struct {
	policy  authority.PolicyID
	version int64
	consent authority.Consent
	depth   int
	level   int
	header  string // of the signature, in base64url
}

// scope is what mandates grant.
type scope struct {
	resources []authority.ResourcePattern
	actions   authority.Actions
}

// revocation is how mandates ended that were revoked together.
type revocation struct {
	at *time.Time
	by authority.PrincipalID
}

// glossary knows what compact mandates have in common. Whoever adds to it holds the lock.
type glossary struct {
	sync.Mutex
	principals *interned[authority.PrincipalID]
	terms      *interned[terms]
	scopes     *interned[scope]
	bonds      *interned[*authority.Confirmation]
	ends       *interned[revocation]
}

func newGlossary() *glossary {
	return &glossary{
		principals: newInterned[authority.PrincipalID](), terms: newInterned[terms](), scopes: newInterned[scope](),
		bonds: newInterned[*authority.Confirmation](), ends: newInterned[revocation](),
	}
}

// entries is how many values the glossary has.
func (g *glossary) entries() int {
	return len(g.principals.values) + len(g.terms.values) + len(g.scopes.values) + len(g.bonds.values) + len(g.ends.values)
}

// meanings are the values of a glossary as far as the mandates of one table use them.
type meanings struct {
	principals []authority.PrincipalID
	terms      []terms
	scopes     []scope
	bonds      []*authority.Confirmation
	ends       []revocation
}

func (g *glossary) meanings() meanings {
	return meanings{g.principals.seen(), g.terms.seen(), g.scopes.seen(), g.bonds.seen(), g.ends.seen()}
}

// compact makes a mandate compact. It is false for one that would not be the same again: there may be few of those.
func (g *glossary) compact(m authority.Mandate, digest bundle.Digest) (compact, bool) {
	id, ok := keyOf(m.ID)
	if !ok || !wholeSecond(m.ValidFrom) || !wholeSecond(m.ValidUntil) || m.CreatedAt.Nanosecond()%1000 != 0 {
		return compact{}, false
	}
	c := compact{
		id: id, from: uint32(m.ValidFrom.Unix()), until: uint32(m.ValidUntil.Unix()), created: m.CreatedAt.UnixMicro(), digest: digest,
	}
	if m.ParentID != nil {
		c.delegated = true
		if c.parent, ok = keyOf(*m.ParentID); !ok {
			return compact{}, false
		}
	}
	header, ok := detached(m.Signature, &c.signature)
	if !ok || !m.Revoked && (m.RevokedAt != nil || m.RevokedBy != "") {
		return compact{}, false
	}
	c.issuer, c.subject, c.requester = g.principal(m.IssuerID), g.principal(m.SubjectID), g.principal(m.RequestedBy)
	c.terms, c.scope, c.bond, c.end = g.term(m, header), g.scope(m), g.bond(m.Confirmation), g.end(m)
	return c, true
}

// wholeSecond reports whether an instant is one that 32 bits hold.
func wholeSecond(t time.Time) bool {
	return t.Nanosecond() == 0 && t.Unix() >= 0 && t.Unix() <= math.MaxUint32
}

// detached takes a detached signature apart.
func detached(text string, signature *[ed25519.SignatureSize]byte) (header string, ok bool) {
	header, signed, ok := strings.Cut(text, "..")
	if !ok || len(signed) != base64.RawURLEncoding.EncodedLen(len(signature)) || strings.ContainsAny(signed, "\r\n") {
		return "", false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(signature[:], []byte(signed))
	return header, err == nil && n == len(signature)
}

func (g *glossary) principal(id authority.PrincipalID) uint32 {
	if id == "" {
		return 0
	}
	return g.principals.number(string(id), func() authority.PrincipalID { return id })
}

func (g *glossary) term(m authority.Mandate, header string) uint32 {
	text := make([]byte, 0, 256)
	for _, n := range []int64{m.PolicyVersion, int64(m.DelegationDepth), int64(m.Level)} {
		text = binary.BigEndian.AppendUint64(text, uint64(n))
	}
	return g.terms.number(string(joined(text, string(m.PolicyID), string(m.Consent), header)), func() terms {
		return terms{m.PolicyID, m.PolicyVersion, m.Consent, m.DelegationDepth, m.Level, header}
	})
}

func (g *glossary) scope(m authority.Mandate) uint32 {
	text := joined(make([]byte, 0, 256), plain(m.ActionScope)...)
	text = joined(append(text, 0xff), plain(m.ResourceScope)...)
	return g.scopes.number(string(text), func() scope { return scope{m.ResourceScope, m.ActionScope} })
}

func (g *glossary) bond(c *authority.Confirmation) uint32 {
	if c == nil {
		return 0
	}
	return g.bonds.number(string(c.Certificate), func() *authority.Confirmation { return c })
}

func (g *glossary) end(m authority.Mandate) uint32 {
	if !m.Revoked {
		return 0
	}
	var text []byte
	if m.RevokedAt != nil {
		text = binary.BigEndian.AppendUint64(append(text, 1), uint64(m.RevokedAt.UnixNano()))
	}
	return g.ends.number(string(joined(text, string(m.RevokedBy))), func() revocation { return revocation{m.RevokedAt, m.RevokedBy} })
}

// joined appends texts behind their lengths.
func joined(to []byte, texts ...string) []byte {
	for _, text := range texts {
		to = append(binary.BigEndian.AppendUint32(to, uint32(len(text))), text...)
	}
	return to
}

// expand gives the mandate again, without its signature. What it shares with other mandates is not to be changed.
func (k meanings) expand(c *compact, id authority.MandateID, owner authority.WorkspaceID) authority.Mandate {
	t, s, end := &k.terms[c.terms], &k.scopes[c.scope], &k.ends[c.end]
	m := authority.Mandate{
		ID: id, WorkspaceID: owner, IssuerID: k.principals[c.issuer], SubjectID: k.principals[c.subject],
		ResourceScope: s.resources, ActionScope: s.actions,
		ValidFrom: time.Unix(int64(c.from), 0).UTC(), ValidUntil: time.Unix(int64(c.until), 0).UTC(),
		DelegationDepth: t.depth, Level: t.level,
		RequestedBy: k.principals[c.requester], Consent: t.consent, PolicyID: t.policy, PolicyVersion: t.version,
		Revoked: c.end != 0, RevokedAt: end.at, RevokedBy: end.by,
		CreatedAt: time.UnixMicro(c.created).UTC(), Confirmation: k.bonds[c.bond],
	}
	if c.delegated {
		parent := c.parent.id()
		m.ParentID = &parent
	}
	return m
}

// signed is the detached signature of a mandate.
func (k meanings) signed(c *compact) string {
	return k.terms[c.terms].header + ".." + base64.RawURLEncoding.EncodeToString(c.signature[:])
}
