package extauthz

import (
	"context"
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// watchServer takes the streams that Envoy opens for requests that are watched: one for each, open for as long as the
// request lasts. What is sent on them are a few small messages, which gRPC queues without waiting for Envoy to read.
//
// A stream that ends without an error while its request is alive would leave the request unwatched: it ends so only after
// Envoy has ended it.
type watchServer struct {
	procv3.UnimplementedExternalProcessorServer
	service *Service
}

// Process registers a request, tells Envoy to let it go on or to refuse it, and stays until the request is over or is to
// be ended.
func (ws watchServer) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	first, err := stream.Recv()
	if err != nil {
		return status.Error(codes.Canceled, "the request ended before it was described")
	}
	if first.GetRequestHeaders() == nil {
		return status.Error(codes.InvalidArgument, "a watch starts with the headers of its request")
	}
	decision := watchedDecision(first.GetMetadataContext())
	w, err := ws.register(stream.Context(), decision)
	if err != nil {
		denial := ws.service.explain(&judgement{id: decision}, err)
		return closing(stream, listen(stream), decision, denial)
	}
	defer close(w.over)
	defer ws.service.watches.remove(w)
	return w.keep(stream)
}

// register bounds how long a registration takes, and turns a bug into a denial.
func (ws watchServer) register(ctx context.Context, id authority.DecisionID) (w *watch, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	failed := ws.service.guard(func() error {
		w, err = ws.service.register(ctx, id)
		return err
	})
	return w, failed
}

// keep lets the request of a watch go on, and ends it when it is to end.
func (w *watch) keep(stream procv3.ExternalProcessor_ProcessServer) error {
	said := listen(stream)
	if w.why.Load() == nil {
		if err := stream.Send(goOn()); err != nil {
			return status.Error(codes.Unavailable, "the request could not be let go on")
		}
	}
	for {
		select {
		case <-w.cut:
			return closing(stream, said, w.decision, w.why.Load())
		case <-stream.Context().Done():
			return status.Error(codes.Canceled, "the stream is gone")
		case err := <-said:
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return status.Error(codes.Aborted, "the watch broke off")
			}
			if err := stream.Send(trailersGoOn()); err != nil {
				return status.Error(codes.Unavailable, "the response's trailers could not be let go on")
			}
		}
	}
}

// errUnasked is what Envoy says on a watch that it was not configured to say.
var errUnasked = errors.New("unexpected message")

// listen hears what Envoy says of a request on its way: nil for the trailers of its response, which wait for an answer,
// and in the end why nothing more comes. That is io.EOF when the request is over, or Envoy needs no watch for what is left
// of it.
func listen(stream procv3.ExternalProcessor_ProcessServer) <-chan error {
	said := make(chan error, 1)
	go func() {
		for {
			message, err := stream.Recv()
			if err == nil && message.GetResponseTrailers() == nil {
				err = errUnasked
			}
			select {
			case said <- err:
			case <-stream.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return said
}

// closing ends a request: by a denial, which the client sees unless the response has begun, and if Envoy does not end the
// stream then, by breaking it off.
func closing(stream procv3.ExternalProcessor_ProcessServer, said <-chan error, id authority.DecisionID, why *Denial) error {
	broken := status.Error(codes.PermissionDenied, string(why.Reason))
	if err := stream.Send(refusal(id, why)); err != nil {
		return broken
	}
	late := time.NewTimer(cutTime)
	defer late.Stop()
	for {
		select {
		case err := <-said:
			if err != nil {
				return broken
			}
		case <-stream.Context().Done():
			return broken
		case <-late.C:
			return broken
		}
	}
}

// watchedDecision is the id that the answer to the check put beside the request. Clients cannot set it.
func watchedDecision(metadata *corev3.Metadata) authority.DecisionID {
	fields := metadata.GetFilterMetadata()[envoy.MetadataNamespace].GetFields()
	return authority.DecisionID(fields[envoy.MetadataDecisionID].GetStringValue())
}

func goOn() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{}}}
}

func trailersGoOn() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &procv3.TrailersResponse{}}}
}

// refusal is a denial in the form in which it answers a watch.
func refusal(id authority.DecisionID, why *Denial) *procv3.ProcessingResponse {
	denied := refuse(why, id, nil).GetDeniedResponse()
	headers := make([]*corev3.HeaderValueOption, len(denied.GetHeaders()))
	for i, h := range denied.GetHeaders() {
		headers[i] = &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: h.GetHeader().GetKey(), RawValue: []byte(h.GetHeader().GetValue())},
			AppendAction: h.GetAppendAction(),
		}
	}
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &procv3.ImmediateResponse{
		Status:  &typev3.HttpStatus{Code: denied.GetStatus().GetCode()},
		Headers: &procv3.HeaderMutation{SetHeaders: headers},
		Body:    []byte(denied.GetBody()),
		Details: envoy.WatchDetails + string(why.Reason),
	}}}
}
