package extauthz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/caracal-gateway/caracal/authority"
)

// denialBody is what a caller reads when a request was refused.
type denialBody struct {
	Error      authority.Reason     `json:"error"`
	Message    string               `json:"message"`
	Code       string               `json:"code,omitempty"`
	DecisionID authority.DecisionID `json:"decision_id"`
}

// text is one line of JSON, for people who see it in a terminal: "<" and ">" stay what they are.
func (b denialBody) text() []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(b); err != nil {
		return []byte(`{"error":"internal_error","message":"The decision failed inside the gateway.","decision_id":null}` + "\n")
	}
	return line.Bytes()
}

// refuse writes a denial for Envoy. An empty CheckResponse means "allow" to Envoy, and so does a status of OK, whatever
// stands beside it: both are set here to what they must not be forgotten as. The request, where there is one, says in which
// form its client takes a denial.
func refuse(denial *Denial, id authority.DecisionID, to *request) *authv3.CheckResponse {
	code := statusOf(denial.Reason, to)
	if code < http.StatusBadRequest || code > 599 {
		denial = because(authority.ReasonInternal)
		code = http.StatusInternalServerError
	}
	kind, body := "application/json", denialBody{Error: denial.Reason, Message: denial.Message, Code: denial.Code, DecisionID: id}.text()
	if showsPlainText(to) {
		kind, body = "text/plain; charset=utf-8", fmt.Appendf(nil, "%s (%s, %s)\n", denial.Message, denial.Reason, id)
	}
	headers := []*corev3.HeaderValueOption{overwrite("content-type", kind), overwrite("cache-control", "no-store")}
	switch code {
	case http.StatusUnauthorized:
		headers = append(headers, overwrite("www-authenticate", challenge(denial.Reason)))
	case http.StatusProxyAuthRequired:
		headers = append(headers, overwrite("proxy-authenticate", `Basic realm="caracal"`), another("proxy-authenticate", challenge(denial.Reason)))
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(code)},
			Headers: headers,
			Body:    string(body),
		}},
	}
}

// challenge tells the client how to authenticate (RFC 6750: no error code for a request without a credential).
func challenge(reason authority.Reason) string {
	if reason == authority.ReasonAuthFailed {
		return `Bearer realm="caracal", error="invalid_token"`
	}
	return `Bearer realm="caracal"`
}

func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// another adds a line of a header that has one already.
func another(name, value string) *corev3.HeaderValueOption {
	option := overwrite(name, value)
	option.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	return option
}

// accept turns an answer that denies into one that lets the request pass. Only a whole Permit does; with anything else
// the answer stays what it is.
func accept(answer *authv3.CheckResponse, permit Permit) {
	if !permit.whole() {
		return
	}
	answer.Status = &status.Status{Code: int32(codes.OK)}
	answer.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers:         permit.set,
		HeadersToRemove: permit.remove,
	}}
	ok := answer.GetOkResponse()
	if permit.selected != "" {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, overwrite(headerSelected, string(permit.selected)))
	}
	if permit.decision != "" {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, overwrite(headerDecision, string(permit.decision)))
	}
}

// beneath is what Envoy keeps beside the request: it names the decision in access log entries and in replies of its
// own.
func beneath(values map[string]string) *structpb.Struct {
	fields := make(map[string]*structpb.Value, len(values))
	for name, value := range values {
		if value != "" {
			fields[name] = structpb.NewStringValue(value)
		}
	}
	return &structpb.Struct{Fields: fields}
}

// Keys of the metadata beside the decision's id.
const (
	metadataMode      = "mode"
	metadataPrincipal = "principal_id"
	metadataMandate   = "mandate_id"
)
