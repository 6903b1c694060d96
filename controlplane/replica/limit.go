package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/throttled/throttled/v2/store/memstore"
)

const (
	// maxSubjects bounds what a process remembers for one limit; the longest unseen is forgotten first.
	maxSubjects = 65_536
	// maxContention is how often a count is tried again because another replica counted the same subject meanwhile.
	// The time that a question may take ends it before.
	maxContention = 1000
)

// Rate is how often a subject may do something: Burst times at once, and as many times as PerMinute over time.
type Rate struct {
	Burst     int // from 1
	PerMinute int // from 1 to 6,000,000
}

// Limit bounds how often each of its subjects does one thing.
type Limit struct {
	name    string
	replica *Replica
	shared  *throttled.GCRARateLimiterCtx // nil without Redis
	own     *throttled.GCRARateLimiterCtx
}

// Limit makes a limit. Replicas count together what has the same name.
func (r *Replica) Limit(name string, rate Rate) (*Limit, error) {
	quota := throttled.RateQuota{MaxRate: throttled.PerDuration(rate.PerMinute, time.Minute), MaxBurst: rate.Burst - 1}
	memory, err := memstore.New(maxSubjects)
	if err != nil {
		return nil, fmt.Errorf("make limit %s: %w", name, err)
	}
	memory.SetTimeNow(r.now)
	l := &Limit{name: name, replica: r}
	if l.own, err = throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(memory), quota); err != nil {
		return nil, fmt.Errorf("make limit %s: %w", name, err)
	}
	l.own.SetMaxCASAttemptsLimit(maxContention)
	if r.redis == nil {
		return l, nil
	}
	store, err := goredisstore.NewCtx(r.redis, prefix+"limit:"+name+":")
	if err != nil {
		return nil, fmt.Errorf("make limit %s: %w", name, err)
	}
	if l.shared, err = throttled.NewGCRARateLimiterCtx(store, quota); err != nil {
		return nil, fmt.Errorf("make limit %s: %w", name, err)
	}
	l.shared.SetMaxCASAttemptsLimit(maxContention)
	return l, nil
}

// Take counts one thing that the subject does. It returns 0 when that is within the limit; else nothing is counted, and
// it returns after how long the next would be.
func (l *Limit) Take(ctx context.Context, subject string) time.Duration {
	var wait time.Duration
	if l.shared != nil && l.replica.ask(ctx, func(ctx context.Context) (err error) {
		wait, err = take(ctx, l.shared, subject)
		return err
	}) {
		return wait
	}
	wait, err := take(ctx, l.own, subject)
	if err != nil {
		// Only contention beyond all measure comes here: too many at once is too many.
		return time.Second
	}
	return wait
}

func take(ctx context.Context, limiter *throttled.GCRARateLimiterCtx, subject string) (time.Duration, error) {
	limited, result, err := limiter.RateLimitCtx(ctx, subject, 1)
	if err != nil || !limited {
		return 0, err
	}
	return max(result.RetryAfter, time.Millisecond), nil
}
