package replica

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	flushEvery = 15 * time.Second
	lastFlush  = 2 * time.Second
	// seenLifetime ends what no replica came to keep.
	seenLifetime = time.Hour
	// maxSightings bounds what a process gathers between two flushes; more is dropped, since each is of use but not
	// needed.
	maxSightings = 100_000

	seenKey = prefix + "seen"
	mineKey = prefix + "seen:kept:"
)

// Sighting says when something of a workspace, such as a key or a principal, was last seen.
type Sighting struct {
	Workspace authority.WorkspaceID
	Subject   string // its id
	At        time.Time
}

type sighted struct {
	workspace authority.WorkspaceID
	subject   string
}

// See notes that something was seen. It does not wait; the note is kept some 15 seconds later, and lost if all replicas
// end before by a crash.
func (r *Replica) See(workspace authority.WorkspaceID, subject string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := sighted{workspace, subject}
	last, known := r.sightings[s]
	if at.After(last) && (known || len(r.sightings) < maxSightings) {
		r.sightings[s] = at
	}
}

func (r *Replica) gathered() []Sighting {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Sighting, 0, len(r.sightings))
	for s, at := range r.sightings {
		all = append(all, Sighting{s.workspace, s.subject, at})
	}
	clear(r.sightings)
	return all
}

// flush brings what this process has seen to Redis, where sightings of the same by several replicas become one, and keeps
// what all have seen since one of them did. Without Redis this process keeps its own.
func (r *Replica) flush(ctx context.Context, keep Keeper) {
	own := r.gathered()
	if !r.ask(ctx, func(ctx context.Context) error { return r.gather(ctx, own) }) {
		r.store(ctx, keep, own)
		return
	}
	var all []Sighting
	r.ask(ctx, func(ctx context.Context) (err error) {
		all, err = r.collect(ctx)
		return err
	})
	r.store(ctx, keep, all)
}

// store keeps sightings, or gathers them again for the next flush.
func (r *Replica) store(ctx context.Context, keep Keeper, all []Sighting) {
	if len(all) == 0 {
		return
	}
	if err := keep(ctx, all); err != nil {
		r.log.Debug("who was seen is not kept yet", "cause", err)
		for _, s := range all {
			r.See(s.Workspace, s.Subject, s.At)
		}
	}
}

func (r *Replica) gather(ctx context.Context, own []Sighting) error {
	if len(own) == 0 {
		return nil
	}
	_, err := r.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range own {
			p.HSet(ctx, seenKey, string(s.Workspace)+" "+s.Subject, s.At.UnixMicro())
		}
		p.Expire(ctx, seenKey, seenLifetime)
		return nil
	})
	return err
}

// collect takes what all replicas have seen and none has taken.
func (r *Replica) collect(ctx context.Context) ([]Sighting, error) {
	mine := mineKey + rand.Text()
	if err := r.redis.Rename(ctx, seenKey, mine).Err(); err != nil {
		if redis.HasErrorPrefix(err, "no such key") { // the library cuts off ERR
			return nil, nil
		}
		return nil, err
	}
	fields, err := r.redis.HGetAll(ctx, mine).Result()
	if err != nil {
		return nil, err
	}
	return readSightings(fields), r.redis.Del(ctx, mine).Err()
}

// readSightings reads what replicas wrote. What is not of their form is left out: Redis is no authority.
func readSightings(fields map[string]string) []Sighting {
	all := make([]Sighting, 0, len(fields))
	for name, value := range fields {
		id, subject, _ := strings.Cut(name, " ")
		workspace, err := authority.ParseID[authority.WorkspaceID](id)
		micros, numeric := strconv.ParseInt(value, 10, 64)
		if err == nil && numeric == nil && subject != "" {
			all = append(all, Sighting{workspace, subject, time.UnixMicro(micros).UTC()})
		}
	}
	return all
}
