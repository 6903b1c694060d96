package envoy

import (
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// reply is what a client gets where Envoy itself ends a request.
type reply struct {
	details []string // of the response, any of them; one that ends in "*" is a beginning
	when    string   // or this, CEL over the response
	status  uint32   // 0 leaves Envoy's
	reason  string
	message string
}

// replies are tried in order; the last one takes what is left. Statuses and details come from Envoy and say what
// happened; they are never shown, for they name certificates and addresses.
func replies() []reply {
	return []reply{
		{[]string{"ext_authz_*", "ext_proc_*", WatchDetails + "*"}, "", 503, "decision_unavailable", "The gateway could not decide on this request, so it was refused. Try again."},
		{[]string{"rbac_access_denied*", "dns_resolution_failure{address_denied}"}, "", 403, "target_not_allowed", "The target's address is not one that this gateway may connect to."},
		{[]string{"dns_*"}, "", 502, "upstream_unreachable", "The target's name could not be resolved."},
		{nil, "response.code_details == 'direct_response' && response.code == 426", 0, "tls_required", "This port serves plain HTTP only for /health, /ready and /admin/sync. Use https."},
		{[]string{"direct_response", "cluster_not_found"}, "", 503, "route_not_ready", "The request is allowed, but the gateway has no route for it yet. Try again."},
		{[]string{"upstream_max_stream_duration_reached", "max_duration_timeout"}, "", 504, "upstream_timeout", "The request took longer than its permission lasts."},
		{[]string{"upstream_response_timeout", "upstream_per_try_timeout"}, "response.code == 504", 0, "upstream_timeout", "The target did not answer in time."},
		{[]string{"upstream_*", "no_healthy_upstream"}, "", 0, "upstream_unreachable", "The target could not be reached, or broke off before it answered."},
		{nil, "response.code == 431", 0, "malformed_request", "The request's headers are too large."},
		{nil, "response.code == 426", 0, "malformed_request", "The gateway speaks HTTP/1.1 and HTTP/2."},
		{nil, "response.code == 408", 0, "malformed_request", "The request did not arrive in time."},
		{[]string{"upgrade_failed"}, "", 400, "malformed_request", "This upgrade is not supported."},
		{nil, "response.code >= 400 && response.code < 500 || response.code == 501", 400, "malformed_request", "The request is not well-formed."},
		{nil, "true", 0, "internal_error", "The gateway could not handle this request."},
	}
}

// condition is the CEL of when the reply is given.
func (r reply) condition() string {
	var terms []string
	for _, detail := range r.details {
		if beginning, open := strings.CutSuffix(detail, "*"); open {
			terms = append(terms, "response.code_details.startsWith('"+beginning+"')")
		} else {
			terms = append(terms, "response.code_details == '"+detail+"'")
		}
	}
	if r.when != "" {
		terms = append(terms, r.when)
	}
	return strings.Join(terms, " || ")
}

// Unanswered says by the details of a response in the access log why a request that was permitted got no answer from its
// target, as its client was told: false where one was there, and where the details alone do not say it.
func Unanswered(details string) (reason, message string, ok bool) {
	for _, r := range replies() {
		for _, detail := range r.details {
			beginning, open := strings.CutSuffix(detail, "*")
			if details == detail || open && strings.HasPrefix(details, beginning) {
				return r.reason, r.message, true
			}
		}
	}
	return "", "", false
}

// Reasons lists every reason that Envoy's own replies can carry.
func Reasons() []string {
	var reasons []string
	for _, r := range replies() {
		reasons = append(reasons, r.reason)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// ownWords are the replies that the decision service wrote, in answer to a check or to the watch of a request.
const ownWords = "(response.code_details == 'ext_authz_denied' || response.code_details == 'ext_authz_error' || " +
	"response.code_details.startsWith('" + WatchDetails + "')) && response.headers['content-type'] == "

// ownKinds are the forms in which the decision service writes: JSON, and the lines that some clients show people. Envoy's
// own plain text has no charset.
func ownKinds() []string { return []string{"application/json", "text/plain; charset=utf-8"} }

// localReplies gives every reply that Envoy makes by itself the contract's JSON. What the decision service wrote stays
// as it is.
func localReplies() *hcmv3.LocalReplyConfig {
	config := &hcmv3.LocalReplyConfig{}
	for _, kind := range ownKinds() {
		config.Mappers = append(config.Mappers, &hcmv3.ResponseMapper{
			Filter: matches(ownWords + "'" + kind + "'"),
			BodyFormatOverride: &corev3.SubstitutionFormatString{
				Format:      &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inlineText("%LOCAL_REPLY_BODY%")},
				ContentType: kind,
			},
		})
	}
	for _, r := range replies() {
		mapper := &hcmv3.ResponseMapper{Filter: matches(r.condition()), BodyFormatOverride: r.body()}
		if r.status != 0 {
			mapper.StatusCode = wrapperspb.UInt32(r.status)
		}
		config.Mappers = append(config.Mappers, mapper)
	}
	return config
}

// body is null in decision_id where nobody was asked.
func (r reply) body() *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{
		JsonFormat: &structpb.Struct{Fields: map[string]*structpb.Value{
			"error":       structpb.NewStringValue(r.reason),
			"message":     structpb.NewStringValue(r.message),
			"decision_id": structpb.NewStringValue("%DYNAMIC_METADATA(" + MetadataNamespace + ":" + MetadataDecisionID + ")%"),
		}},
	}}
}

func matches(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{Expression: expression})},
		},
	}}
}
