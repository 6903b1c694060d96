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

// maxBatch bounds what a batch may unpack to, in bytes.
const maxBatch = 64 << 20

// decode reads a batch and checks that its events are the ones that it claims, without gaps.
func decode(r *syncpb.RecordRequest) (controlplane.Batch, error) {
	b := controlplane.Batch{GatewayID: authority.GatewayID(r.GetGatewayId()), Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast()}
	if err := unpack(r.GetEvents(), &b.Events); err != nil {
		return b, fmt.Errorf("events: %w", err)
	}
	if err := unpack(r.GetOutcomes(), &b.Outcomes); err != nil {
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

// unpack reads zstd-compressed JSON; nothing is an empty value.
func unpack(packed []byte, into any) error {
	if len(packed) == 0 {
		return nil
	}
	reader, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxMemory(maxBatch), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("read compressed batch: %w", err)
	}
	defer reader.Close()
	limited := &io.LimitedReader{R: reader, N: maxBatch + 1}
	if err := json.NewDecoder(limited).Decode(into); err != nil {
		return fmt.Errorf("read batch: %w", err)
	}
	return nil
}
