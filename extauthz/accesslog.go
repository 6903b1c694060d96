package extauthz

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// accessLog receives what Envoy did with the requests that it asked about. Envoy may lose entries; the record of a
// decision was made when it was decided, and the outcome only completes it.
type accessLog struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	recorder Recorder
}

// StreamAccessLogs takes entries until Envoy ends the stream.
func (l accessLog) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive access log: %w", err)
		}
		for _, entry := range message.GetHttpLogs().GetLogEntry() {
			if id, ok := decisionOf(entry.GetCommonProperties()); ok {
				l.recorder.Outcome(id, outcomeOf(entry))
			}
		}
	}
}

// decisionOf is the id that the answer to a check put beside the request. Requests for the gateway itself, and those
// that Envoy refused before it asked, have none.
func decisionOf(common *accesslogdatav3.AccessLogCommon) (authority.DecisionID, bool) {
	fields := common.GetMetadata().GetFilterMetadata()[envoy.MetadataNamespace].GetFields()
	id, err := authority.ParseID[authority.DecisionID](fields[envoy.MetadataDecisionID].GetStringValue())
	return id, err == nil
}

func outcomeOf(entry *accesslogdatav3.HTTPAccessLogEntry) authority.Outcome {
	common, request, response := entry.GetCommonProperties(), entry.GetRequest(), entry.GetResponse()
	return authority.Outcome{
		Status:        int(response.GetResponseCode().GetValue()),
		BytesSent:     response.GetResponseBodyBytes(),
		BytesReceived: request.GetRequestBodyBytes(),
		DurationMS:    common.GetDuration().AsDuration().Milliseconds(),
		Details:       response.GetResponseCodeDetails(),
		Upstream:      addressOf(common.GetUpstreamRemoteAddress()),
		EndedBy:       endedBy(response.GetResponseCodeDetails()),
	}
}

// endedBy reads the reason from the details with which a watch ended its request.
func endedBy(details string) authority.Reason {
	reason, ours := strings.CutPrefix(details, envoy.WatchDetails)
	if !ours {
		return ""
	}
	return authority.Reason(reason)
}

func addressOf(address *corev3.Address) string {
	socket := address.GetSocketAddress()
	if socket == nil {
		return ""
	}
	return net.JoinHostPort(socket.GetAddress(), strconv.FormatUint(uint64(socket.GetPortValue()), 10))
}
