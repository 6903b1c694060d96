package controlplane_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// The cost of one revocation among many mandates, of the index that finds what it changes, and of the snapshot that
// gateways without a state are sent. CPU is this process's, without the database's.
func BenchmarkFeed(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("mandates=%d", n), func(b *testing.B) { benchmarkFeed(b, n) })
	}
}

func benchmarkFeed(b *testing.B, n int) {
	ctx := b.Context()
	p := crowd(b, n)
	before := heap()
	began := time.Now()
	feed, err := p.service.Follow(ctx, p.gateway, controlplane.Position{})
	if err != nil {
		b.Fatal(err)
	}
	defer feed.Close()
	if _, err := feed.Look(ctx); err != nil {
		b.Fatal(err)
	}
	indexed := time.Since(began)
	index := int64(heap()) - int64(before)
	began = time.Now()
	m := await(b, feed)
	sealed, size := time.Since(began), m.Whole.Size()
	_ = m.Whole.Close() // it is not sent anywhere

	var told int
	ids := p.mandates(b, min(n, 5000))
	cpu := processor()
	var done int
	for b.Loop() {
		if _, err := p.service.RevokeMandate(ctx, p.owner, ids[done%len(ids)], 0); err != nil {
			b.Fatal(err)
		}
		m := await(b, feed)
		if m.Whole != nil {
			b.Fatal("a revocation is told by a snapshot")
		}
		told += len(m.Sealed)
		done++
	}
	b.ReportMetric(float64((processor()-cpu).Microseconds())/float64(done), "cpu-µs/op")
	b.ReportMetric(float64(told)/float64(done), "B/delta")
	b.ReportMetric(indexed.Seconds(), "s/index")
	b.ReportMetric(float64(index)/float64(n), "B-index/mandate")
	b.ReportMetric(sealed.Seconds(), "s/snapshot")
	b.ReportMetric(float64(size)/float64(n), "B-sealed/mandate")
}

func await(b *testing.B, feed *controlplane.Feed) *controlplane.Message {
	b.Helper()
	for {
		if m := feed.Next(); m != nil {
			return m
		}
		select {
		case <-feed.Wake():
		case <-time.After(5 * time.Minute):
			b.Fatal("nothing is sent")
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// processor is the processor time that this process has taken.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of oneself it does not fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// crowded is a workspace with many mandates.
type crowded struct {
	service        *controlplane.Service
	owner, gateway controlplane.Caller
	admin          *pgx.Conn
}

func crowd(b *testing.B, n int) *crowded {
	b.Helper()
	ctx := b.Context()
	ownerURL, appURL := cluster.New(b)
	c := &crowded{service: serviceWith(b, appURL, slog.New(slog.DiscardHandler))}
	s := c.service
	as := func(bearer string) controlplane.Caller {
		return need(s.Authenticate(ctx, controlplane.Credential{Bearer: bearer}))(b)
	}
	made := need(s.CreateWorkspace(ctx, as(setupKey), controlplane.NewWorkspace{Name: "crowd", Slug: "crowd"}))(b).Value
	c.owner = as(made.APIKey)
	agent := need(s.RegisterPrincipal(ctx, c.owner, controlplane.NewPrincipal{Name: "a", Type: authority.Agent}))(b).Value.Principal
	need(s.CreatePolicy(ctx, c.owner, controlplane.NewPolicy{
		PrincipalID: agent.ID, AllowedResources: []string{"api:external/*"}, AllowedActions: []string{"read", "execute"}, MaxValiditySeconds: 86400,
	}))(b)
	pattern := need(s.RequestMandate(ctx, c.owner, request(c.owner.Principal().ID, agent.ID)))(b).Value
	c.gateway = as(need(s.CreateKey(ctx, c.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(b).Value.APIKey)

	c.admin = need(pgx.Connect(ctx, cluster.Superuser(b, ownerURL)))(b)
	b.Cleanup(func() { _ = c.admin.Close(context.WithoutCancel(ctx)) })
	// Ids and signatures are as random as real ones are.
	need(c.admin.Exec(ctx, `INSERT INTO mandates (id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until,
			delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_by, created_at, signature)
		SELECT 'mdt_' || translate(substr(md5(n::text), 1, 26), '0189', 'wxyz'), m.workspace_id, m.issuer_id, m.subject_id,
			ARRAY['api:external/' || n], m.action_scope, m.valid_from, m.valid_until, 0, 0, m.requested_by, m.consent, m.policy_id, m.policy_version,
			false, '', m.created_at, split_part(m.signature, '.', 1) || '.' || split_part(m.signature, '.', 2) || '.' ||
			substr(translate(encode(sha512(n::text::bytea), 'base64'), E'+/=\n', '-_'), 1, 86)
		FROM mandates m, generate_series(1, $2::bigint) n WHERE m.id = $1`, pattern.ID, n))(b)
	need(c.admin.Exec(ctx, "ANALYSE"))(b)
	return c
}

// mandates names some of them, from all over.
func (c *crowded) mandates(b *testing.B, n int) []authority.MandateID {
	b.Helper()
	rows := need(c.admin.Query(b.Context(), "SELECT id FROM mandates ORDER BY md5(id) LIMIT $1", n))(b)
	return need(pgx.CollectRows(rows, pgx.RowTo[authority.MandateID]))(b)
}

func need[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
