package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/token"
)

// family is a workspace in which an owner gave mandates to two agents, and each of these to a third.
type family struct {
	*world
	first, second, third       authority.Principal
	asFirst, asSecond, asThird controlplane.Caller
	toFirst, toSecond          authority.MandateID // by the owner
	firstToThird, secondTo     authority.MandateID // cut from these
}

func newFamily(t *testing.T) *family {
	t.Helper()
	f := &family{world: newWorld(t)}
	f.first, f.asFirst = f.agent(f.owner, "first", authority.Agent)
	f.second, f.asSecond = f.agent(f.owner, "second", authority.Agent)
	f.third, f.asThird = f.agent(f.owner, "third", authority.Agent)
	for _, p := range []authority.Principal{f.first, f.second, f.third} {
		f.policy(f.owner, p, 2)
	}
	f.toFirst, f.toSecond = f.mandate(f.owner, f.first).ID, f.mandate(f.owner, f.second).ID
	cut := func(by controlplane.Caller, parent authority.MandateID) authority.MandateID {
		return must(f.DelegateMandate(t.Context(), by, controlplane.Delegation{
			ParentMandateID: parent, ChildPrincipalID: f.third.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 600,
		}))(t).Value.ID
	}
	f.firstToThird, f.secondTo = cut(f.asFirst, f.toFirst), cut(f.asSecond, f.toSecond)
	return f
}

func (f *family) revoked() map[authority.MandateID]bool {
	f.t.Helper()
	all := map[authority.MandateID]bool{}
	for _, m := range must(f.Mandates(f.t.Context(), f.owner, controlplane.MandateFilter{}, controlplane.Page{}))(f.t).Items {
		if m.Revoked {
			all[m.ID] = true
		}
	}
	return all
}

func TestARevocationByFilterEndsWhatEveryFieldAdmitsAndAllBelow(t *testing.T) {
	for sentence, c := range map[string]struct {
		filter func(*family) controlplane.RevocationFilter
		want   func(*family) []authority.MandateID
	}{
		"of a subject": {
			func(f *family) controlplane.RevocationFilter {
				return controlplane.RevocationFilter{SubjectID: f.first.ID}
			},
			func(f *family) []authority.MandateID { return []authority.MandateID{f.toFirst, f.firstToThird} },
		},
		"of an issuer": {
			func(f *family) controlplane.RevocationFilter {
				return controlplane.RevocationFilter{IssuerID: f.second.ID}
			},
			func(f *family) []authority.MandateID { return []authority.MandateID{f.secondTo} },
		},
		"under a mandate, which stays": {
			func(f *family) controlplane.RevocationFilter {
				return controlplane.RevocationFilter{UnderMandateID: f.toFirst}
			},
			func(f *family) []authority.MandateID { return []authority.MandateID{f.firstToThird} },
		},
		"of a subject and an issuer": {
			func(f *family) controlplane.RevocationFilter {
				return controlplane.RevocationFilter{SubjectID: f.third.ID, IssuerID: f.first.ID}
			},
			func(f *family) []authority.MandateID { return []authority.MandateID{f.firstToThird} },
		},
		"of a subject under a mandate of somebody else's": {
			func(f *family) controlplane.RevocationFilter {
				return controlplane.RevocationFilter{SubjectID: f.second.ID, UnderMandateID: f.toFirst}
			},
			func(f *family) []authority.MandateID { return nil },
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFamily(t)
			written := must(f.RevokeMandates(t.Context(), f.owner, c.filter(f), 0))(t)
			r, want := written.Value, map[authority.MandateID]bool{}
			for _, id := range c.want(f) {
				want[id] = true
			}
			if diff := cmp.Diff(want, f.revoked()); diff != "" {
				t.Errorf("revoked (-want +got):\n%s", diff)
			}
			if r.Kind != authority.ReceiptOfMandates || r.MandateCount != int64(len(want)) || r.Revision != written.Revision || r.MandateID != "" || !slices.Equal(r.MandatesDigest, token.MandatesDigest(c.want(f))) {
				t.Errorf("receipt %+v", r)
			}
			events := must(f.Events(t.Context(), f.owner, controlplane.EventFilter{Type: authority.EventRevoked}, controlplane.Page{}))(t).Items
			for _, e := range events {
				if e.Revision != written.Revision || !want[e.MandateID] || e.Detail["receipt_id"] != string(r.ID) {
					t.Errorf("event %+v", e)
				}
			}
			if len(events) != len(want) {
				t.Errorf("%d events, want one for each of %d mandates", len(events), len(want))
			}
		})
	}
}

func TestWhoMayRevokeByFilter(t *testing.T) {
	f := newFamily(t)
	ctx := t.Context()
	_, otherOwner := f.workspace("second")
	stranger, _ := f.agent(otherOwner, "stranger", authority.Agent)
	for sentence, c := range map[string]struct {
		as     controlplane.Caller
		filter controlplane.RevocationFilter
		code   authority.Code
	}{
		"an agent what another was given":           {f.asThird, controlplane.RevocationFilter{SubjectID: f.first.ID}, authority.CodeForbidden},
		"an agent under a mandate it has no part":   {f.asThird, controlplane.RevocationFilter{UnderMandateID: f.toSecond}, authority.CodeNotFound},
		"nothing at all":                            {f.owner, controlplane.RevocationFilter{}, authority.CodeInvalid},
		"something that is no id":                   {f.owner, controlplane.RevocationFilter{SubjectID: "x"}, authority.CodeInvalid},
		"what is in another workspace":              {f.owner, controlplane.RevocationFilter{SubjectID: stranger.ID}, authority.CodeNotFound},
		"under what is nowhere":                     {f.owner, controlplane.RevocationFilter{UnderMandateID: authority.NewID[authority.MandateID]()}, authority.CodeNotFound},
		"what it was given, when it is from nobody": {otherOwner, controlplane.RevocationFilter{IssuerID: f.first.ID}, authority.CodeNotFound},
	} {
		t.Run(sentence, func(t *testing.T) {
			wantError(t, drop(f.RevokeMandates(ctx, c.as, c.filter, 0)), c.code, "")
		})
	}
	wantError(t, drop(f.RevokeMandates(ctx, f.owner, controlplane.RevocationFilter{SubjectID: f.first.ID}, controlplane.MaxRevocationWait+1)), authority.CodeInvalid, "")
	if len(f.revoked()) != 0 {
		t.Fatalf("revoked %v", f.revoked())
	}
	must(f.RevokeMandates(ctx, f.asFirst, controlplane.RevocationFilter{UnderMandateID: f.toFirst}, 0))(t)
	must(f.RevokeMandates(ctx, f.asThird, controlplane.RevocationFilter{SubjectID: f.third.ID}, 0))(t)
	if diff := cmp.Diff(map[authority.MandateID]bool{f.firstToThird: true, f.secondTo: true}, f.revoked()); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}

func TestWhoSeesAReceipt(t *testing.T) {
	f := newFamily(t)
	ctx := t.Context()
	_, stranger := f.workspace("second")
	all := must(f.RevokeMandates(ctx, f.owner, controlplane.RevocationFilter{IssuerID: f.owner.Principal().ID}, 0))(t).Value
	if len(all.Mandates) != 4 {
		t.Fatalf("receipt %+v", all)
	}
	page := controlplane.Page{}
	for sentence, c := range map[string]struct {
		as   controlplane.Caller
		want []authority.MandateID
	}{
		"a member sees all of it":                 {f.owner, all.Mandates},
		"an agent sees what it gave or was given": {f.asFirst, []authority.MandateID{f.toFirst, f.firstToThird}},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := must(f.Receipt(ctx, c.as, all.ID))(t).Mandates; !cmp.Equal(got, c.want) {
				t.Errorf("receipt: %s", cmp.Diff(c.want, got))
			}
			if got := idsOf(must(f.ReceiptMandates(ctx, c.as, all.ID, page))(t)); !cmp.Equal(got, c.want) {
				t.Errorf("list: %s", cmp.Diff(c.want, got))
			}
			if got := must(f.Receipts(ctx, c.as, controlplane.ReceiptFilter{}, page))(t).Items; len(got) != 1 || got[0].ID != all.ID {
				t.Errorf("receipts %+v", got)
			}
		})
	}
	own := must(f.RevokeMandates(ctx, f.asThird, controlplane.RevocationFilter{SubjectID: f.third.ID}, 0))(t).Value
	for sentence, as := range map[string]controlplane.Caller{"another workspace": stranger, "an agent that has no part": f.asFirst} {
		t.Run(sentence+" finds none", func(t *testing.T) {
			wantError(t, drop(f.Receipt(ctx, as, own.ID)), authority.CodeNotFound, "")
			wantError(t, drop(f.ReceiptMandates(ctx, as, own.ID, page)), authority.CodeNotFound, "")
			wantError(t, drop(f.AwaitReceipt(ctx, as, own.ID, time.Second)), authority.CodeNotFound, "")
			for _, r := range must(f.Receipts(ctx, as, controlplane.ReceiptFilter{}, page))(t).Items {
				if r.ID == own.ID {
					t.Errorf("it lists %+v", r)
				}
			}
		})
	}
	if got := must(f.Receipts(ctx, f.owner, controlplane.ReceiptFilter{RequestedBy: f.third.ID, State: authority.ReceiptEnforced, Kind: authority.ReceiptOfMandates}, page))(t).Items; len(got) != 1 || got[0].ID != own.ID {
		t.Errorf("those that it asked for: %+v", got)
	}
	if got := must(f.Receipts(ctx, f.owner, controlplane.ReceiptFilter{State: authority.ReceiptPending}, page))(t).Items; len(got) != 0 {
		t.Errorf("pending ones: %+v", got)
	}
}

func idsOf(l controlplane.List[controlplane.EndedMandate]) []authority.MandateID {
	var ids []authority.MandateID
	for _, m := range l.Items {
		ids = append(ids, m.MandateID)
	}
	return ids
}

// lossy passes a database's connections on, and loses the answer to a COMMIT when it is told to.
type lossy struct {
	net.Listener
	network, address string
	lose             atomic.Bool
}

// newLossy puts itself between the application and its database.
func newLossy(t *testing.T, appURL string) (*lossy, string) {
	t.Helper()
	config := must(pgx.ParseConfig(appURL))(t)
	l := &lossy{Listener: must(net.Listen("tcp", "127.0.0.1:0"))(t), network: "tcp", address: net.JoinHostPort(config.Host, fmt.Sprint(config.Port))}
	if config.Host[0] == '/' {
		l.network, l.address = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go l.pass(client)
		}
	}()
	through := url.URL{Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: l.Addr().String(), Path: config.Database, RawQuery: "sslmode=disable"}
	return l, through.String()
}

func (l *lossy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(l.network, l.address)
	if err != nil {
		return
	}
	defer server.Close()
	var losing atomic.Bool
	go func() {
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if bytes.Contains(buffer[:n], []byte("commit\x00")) && l.lose.CompareAndSwap(true, false) {
				losing.Store(true)
			}
			if _, failed := server.Write(buffer[:n]); failed != nil || err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if losing.Load() || err != nil { // the database has answered, so that it has committed
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// M9: a connection that breaks between the commit and its answer leaves a revocation that is committed, and whoever asks
// again is told the same revision and the same receipt.
func TestARevocationWhoseCommitWasNotAnsweredIsTheSameWhenAskedAgain(t *testing.T) {
	w, agent, m := revocable(t)
	ctx := t.Context()
	e := w.edge(w.owner, "edge")
	between, through := newLossy(t, w.appURL)
	s := newService(t, through)
	for _, of := range []struct {
		name string
		ask  func(controlplane.Caller) (controlplane.Receipt, error)
	}{
		{"a mandate", func(c controlplane.Caller) (controlplane.Receipt, error) {
			written, err := s.RevokeMandate(ctx, c, m.ID, 0)
			return written.Value, err
		}},
		{"a principal", func(c controlplane.Caller) (controlplane.Receipt, error) {
			written, err := s.SuspendPrincipal(ctx, c, agent.ID, 0)
			return written.Value.Receipt, err
		}},
		{"a filter, with an Idempotency-Key", func(c controlplane.Caller) (controlplane.Receipt, error) {
			written, err := s.RevokeMandates(ctx, c.Once("again", []byte("digest")), controlplane.RevocationFilter{SubjectID: agent.ID}, 0)
			return written.Value, err
		}},
	} {
		t.Run(of.name, func(t *testing.T) {
			before := must(w.Revision(ctx, e.caller))(t)
			between.lose.Store(true)
			_, err := of.ask(w.owner)
			var told *authority.Error
			if !errors.As(err, &told) || told.Code != authority.CodeUnavailable {
				t.Fatalf("error %v, want unavailable", err)
			}
			again, third := must(of.ask(w.owner))(t), must(of.ask(w.owner))(t)
			if again.Revision != before+1 || third.ID != again.ID || again.State != authority.ReceiptPending {
				t.Errorf("after revision %d it was told %+v and %+v", before, again, third)
			}
		})
	}
	revision := must(w.Revision(ctx, e.caller))(t)
	acknowledge(t, w.Service, e, revision)
	if r := must(w.RevokeMandate(ctx, w.owner, m.ID, patient))(t).Value; r.State != authority.ReceiptEnforced {
		t.Errorf("receipt %+v", r)
	}
}

// M7: what is delegated while its parent is being revoked is either never made or ends with it, and the receipt counts it.
func TestAReceiptCountsWhatWasDelegatedUpToTheRevocation(t *testing.T) {
	w, agent, m := revocable(t)
	helper, _ := w.agent(w.owner, "helper", authority.Agent)
	w.policy(w.owner, helper, 0)
	asAgent, other := w.as(w.apiKeyOf(agent)), newService(t, w.appURL)
	made := make(chan int64)
	go func() {
		var n int64
		for {
			_, err := other.DelegateMandate(context.Background(), asAgent, controlplane.Delegation{
				ParentMandateID: m.ID, ChildPrincipalID: helper.ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
			})
			if err != nil {
				made <- n
				return
			}
			n++
		}
	}()
	eventually(t, "something is delegated", func() bool {
		return len(must(w.Mandates(t.Context(), w.owner, controlplane.MandateFilter{ParentID: m.ID}, controlplane.Page{}))(t).Items) > 2
	})
	r := must(w.RevokeMandate(t.Context(), w.owner, m.ID, 0))(t).Value
	if n := <-made; r.MandateCount != n+1 {
		t.Errorf("%d were delegated, and the receipt counts %d mandates", n, r.MandateCount)
	}
	if live := must(w.Mandates(t.Context(), w.owner, controlplane.MandateFilter{State: controlplane.MandateStates()[0]}, controlplane.Page{}))(t).Items; len(live) != 0 {
		t.Errorf("still alive: %+v", live)
	}
}

// descend gives a mandate a hundred thousand descendants, in the way that a superuser can.
func (w *world) descend(root authority.Mandate, count int) {
	w.t.Helper()
	conn := must(pgx.Connect(w.t.Context(), cluster.Superuser(w.t, w.ownerURL)))(w.t)
	defer func() { _ = conn.Close(w.t.Context()) }()
	const columns = `workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until, requested_by, consent,
		policy_id, policy_version, revoked, revoked_by, created_at, signature`
	for _, sql := range []string{
		"SET session_replication_role = replica",
		fmt.Sprintf(`INSERT INTO mandates (id, parent_id, level, delegation_depth, %s)
			SELECT 'mdt_' || lpad(n::text, 26, 'a'), $1, 1, 1, %s FROM mandates, generate_series(1, $2::int / 100) n WHERE id = $1`, columns, columns),
		fmt.Sprintf(`INSERT INTO mandates (id, parent_id, level, delegation_depth, %s)
			SELECT 'mdt_' || lpad(n::text, 26, 'b'), 'mdt_' || lpad((1 + n %% ($2::int / 100))::text, 26, 'a'), 2, 0, %s
			FROM mandates, generate_series(1, $2::int - $2::int / 100) n WHERE id = $1`, columns, columns),
	} {
		args := []any{root.ID, count}
		if sql[:3] == "SET" {
			args = nil
		}
		if _, err := conn.Exec(w.t.Context(), sql, args...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// As many as the long run takes are a hundred thousand; a tenth goes through the same pages and rounds.
func TestOneRevocationEndsVeryManyMandates(t *testing.T) {
	w, _, m := revocable(t)
	ctx := t.Context()
	count := 10_000
	if os.Getenv("CARACAL_DEEP") != "" {
		count = 100_000
	}
	w.descend(m, count)
	began := time.Now()
	r := must(w.RevokeMandate(ctx, w.owner, m.ID, 0))(t).Value
	t.Logf("%d mandates were revoked in %s", r.MandateCount, time.Since(began))
	if r.MandateCount != int64(count+1) || len(r.Mandates) != controlplane.MaxPage || r.Mandates[0] != m.ID {
		t.Errorf("the receipt counts %d, shows %d from %s", r.MandateCount, len(r.Mandates), r.Mandates[0])
	}
	seen, page := []authority.MandateID{}, controlplane.Page{Limit: controlplane.MaxPage}
	for {
		list := must(w.ReceiptMandates(ctx, w.owner, r.ID, page))(t)
		seen = append(seen, idsOf(list)...)
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	if !bytes.Equal(token.MandatesDigest(seen), r.MandatesDigest) || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != count+1 {
		t.Errorf("the pages hold %d mandates, which are not those of the digest", len(seen))
	}
	wantError(t, drop(w.ReceiptMandates(ctx, w.owner, authority.NewID[authority.ReceiptID](), page)), authority.CodeNotFound, "")
}
