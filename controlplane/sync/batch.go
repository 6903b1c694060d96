package sync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

const (
	// maxBatch bounds what each part of a batch may unpack to, in bytes.
	maxBatch = 64 << 20
	// maxMembers bounds how many events, and how many outcomes, it may hold.
	maxMembers = 20_000
	// maxMember bounds one of them, in bytes: each is read again whenever a page of events is.
	maxMember = 64 << 10
)

// decode reads a batch and checks that its events are the ones that it claims, without gaps.
func decode(r *syncpb.RecordRequest) (controlplane.Batch, error) {
	b := controlplane.Batch{GatewayID: authority.GatewayID(r.GetGatewayId()), Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast()}
	var err error
	if b.Events, err = events(r.GetEvents()); err != nil {
		return b, fmt.Errorf("events: %w", err)
	}
	if b.Outcomes, err = outcomes(r.GetOutcomes()); err != nil {
		return b, fmt.Errorf("outcomes: %w", err)
	}
	if len(b.Events) == 0 {
		if b.First != 0 || b.Last != 0 {
			return b, errors.New("a range without events")
		}
		return b, nil
	}
	if b.First == 0 || b.Last-b.First+1 != uint64(len(b.Events)) {
		return b, fmt.Errorf("the range does not hold %d events", len(b.Events))
	}
	for i, e := range b.Events {
		if e.Gateway == nil || e.Gateway.Epoch != b.Epoch || e.Gateway.Sequence != b.First+uint64(i) {
			return b, fmt.Errorf("event %d is not number %d of epoch %d", i, b.First+uint64(i), b.Epoch)
		}
	}
	return b, nil
}

// events reads a packed list.
func events(packed []byte) ([]authority.Event, error) {
	var list []authority.Event
	err := unpack(packed, '[', func(d *json.Decoder) error {
		var e authority.Event
		err := d.Decode(&e)
		list = append(list, e)
		return err
	})
	return list, err
}

// outcomes reads a packed object.
func outcomes(packed []byte) (map[authority.DecisionID]authority.Outcome, error) {
	object := map[authority.DecisionID]authority.Outcome{}
	err := unpack(packed, '{', func(d *json.Decoder) error {
		name, err := d.Token()
		if err != nil {
			return err
		}
		text, _ := name.(string)
		id, err := authority.ParseID[authority.DecisionID](text)
		if err != nil {
			return err
		}
		var o authority.Outcome
		err = d.Decode(&o)
		object[id] = o
		return err
	})
	return object, err
}

// unpack reads zstd-compressed JSON member by member, so that what is held grows with what a batch may hold and not with
// what a few bytes can unpack to. Nothing packed is nothing.
func unpack(packed []byte, opening json.Delim, member func(*json.Decoder) error) error {
	if len(packed) == 0 {
		return nil
	}
	reader, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxMemory(maxBatch), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer reader.Close()
	decoder := json.NewDecoder(&io.LimitedReader{R: reader, N: maxBatch})
	if first, err := decoder.Token(); err != nil || first != opening {
		return errors.Join(fmt.Errorf("does not begin with %s", opening), err)
	}
	for n := 0; decoder.More(); n++ {
		if n == maxMembers {
			return fmt.Errorf("more than %d", maxMembers)
		}
		before := decoder.InputOffset()
		if err := member(decoder); err != nil {
			return fmt.Errorf("member %d: %w", n, err)
		}
		if decoder.InputOffset()-before > maxMember {
			return fmt.Errorf("member %d: larger than %d bytes", n, maxMember)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the end")
	}
	return nil
}
