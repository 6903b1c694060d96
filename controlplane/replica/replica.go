// Package replica holds what the replicas of a control plane share through Redis and may lose: how often somebody has
// asked, who was seen when, and hints that there is something new to look at. Nothing that a decision rests on is here.
//
// Without Redis, or while it does not answer, each process counts for itself. A question never waits for Redis longer
// than a quarter of a second, and after the first that did none goes there until Redis answers again.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	patience   = 250 * time.Millisecond
	probeEvery = time.Second
	prefix     = "caracal:"
)

// State says how far what is counted reaches.
type State string

// The states.
const (
	PerProcess  State = "per_process" // there is no Redis
	Shared      State = "shared"      // all replicas count together
	Unavailable State = "unavailable" // Redis does not answer: each process counts for itself
)

// Config is what a replica needs.
type Config struct {
	// RedisURL is of the form redis://, rediss:// or unix://; empty for none. Each deployment has a Redis database of
	// its own.
	RedisURL string
	Log      *slog.Logger
	// Now is the clock of what is counted in this process. Redis counts by its own.
	Now func() time.Time
}

// Keeper stores who was seen. What it refuses it is given again later.
type Keeper func(context.Context, []Sighting) error

// Replica is this process among the replicas. It is safe for concurrent use.
type Replica struct {
	redis     *redis.Client // nil without Redis
	answers   atomic.Bool   // whether Redis is believed to
	log       *slog.Logger
	now       func() time.Time
	mu        sync.Mutex            // guards sightings
	sightings map[sighted]time.Time // seen since the last flush
	outgoing  *wakes                // that other replicas are to be told
}

// Open makes a replica. Redis may be away; Run finds it when it comes.
func Open(c Config) (*Replica, error) {
	r := &Replica{log: c.Log, now: c.Now, sightings: map[sighted]time.Time{}, outgoing: newWakes()}
	if c.RedisURL == "" {
		return r, nil
	}
	options, err := redis.ParseURL(c.RedisURL)
	if err != nil {
		// The parser's words may hold the password.
		return nil, errors.New("the Redis URL is not of the form redis://[user:password@]host[:port][/database], rediss://… or unix://path")
	}
	options.ContextTimeoutEnabled = true
	options.MaxRetries, options.DialerRetries = -1, 1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = patience, patience, patience, patience
	r.redis = redis.NewClient(options)
	return r, nil
}

// State says how far this replica's counts reach at present.
func (r *Replica) State() State {
	switch {
	case r.redis == nil:
		return PerProcess
	case r.answers.Load():
		return Shared
	}
	return Unavailable
}

// Run watches whether Redis answers and lets who was seen be kept, until ctx ends.
func (r *Replica) Run(ctx context.Context, keep Keeper) error {
	g, ctx := errgroup.WithContext(ctx)
	if r.redis != nil {
		r.probe(ctx)
		g.Go(func() error { return every(ctx, probeEvery, r.probe) })
	}
	g.Go(func() error { return every(ctx, flushEvery, func(ctx context.Context) { r.flush(ctx, keep) }) })
	err := g.Wait()
	// What was seen since the last flush is kept before the process ends, within reason.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	r.flush(last, keep)
	if r.redis != nil {
		err = errors.Join(err, r.redis.Close())
	}
	return err
}

func (r *Replica) probe(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := r.redis.Ping(asking).Err(); {
	case ctx.Err() != nil:
	case err != nil:
		r.lost(err)
	case !r.answers.Swap(true):
		r.log.Info("redis answers; limits are shared by the replicas")
	}
}

// lost notes that Redis did not answer; only the first to notice tells.
func (r *Replica) lost(cause error) {
	if r.answers.Swap(false) {
		r.log.Warn("redis does not answer; limits are counted per process", "cause", cause)
	}
}

// ask puts a question to Redis, and reports whether it was answered.
func (r *Replica) ask(ctx context.Context, question func(context.Context) error) bool {
	if r.redis == nil || !r.answers.Load() {
		return false
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := question(asking)
	if err == nil {
		return true
	}
	if ctx.Err() == nil {
		r.lost(fmt.Errorf("ask: %w", err))
	}
	return false
}

// every does something now and at each tick until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(context.Context)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
