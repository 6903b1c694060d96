package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// exportTimeout bounds an export of everything.
const exportTimeout = 10 * time.Minute

// events answers one page as a JSON list, whose next cursor is in a header, or all events that match as text.
func (h *Handler) events(x *exchange) (*reply, error) {
	q := readQuery(x.r.URL.RawQuery)
	filter, page := eventFilter(q), q.page()
	format := q.choice("format", "json", "jsonl", "csv")
	if err := x.within(q); err != nil {
		return nil, err
	}
	if format == "jsonl" || format == "csv" {
		return nil, h.export(x, filter, page, format)
	}
	l, err := h.service.Events(x.ctx(), x.caller, filter, page)
	if err != nil {
		return nil, err
	}
	if l.NextCursor != "" {
		x.w.Header().Set("X-Caracal-Next-Cursor", l.NextCursor)
	}
	return &reply{status: http.StatusOK, body: toListed(l.Items, "").Items}, nil
}

// export writes every page from the asked one on, or just one page where a limit is given. An export that cannot go on
// breaks the connection, so that nobody takes a part for the whole.
func (h *Handler) export(x *exchange, filter controlplane.EventFilter, page controlplane.Page, format string) error {
	if err := h.service.MayExport(x.ctx(), x.caller); err != nil {
		return err
	}
	onePage := page.Limit != 0
	if !onePage {
		page.Limit = controlplane.MaxPage
	}
	encode, contentType := encodeLines, "application/jsonl"
	if format == "csv" {
		encode, contentType = encodeCSV, "text/csv; charset=utf-8; header=present"
	}
	control := http.NewResponseController(x.w)
	for first := true; ; first = false {
		l, err := h.service.Events(x.ctx(), x.caller, filter, page)
		var text []byte
		if err == nil {
			text, err = encode(l.Items, first)
		}
		if err != nil && first {
			return err
		}
		if err != nil {
			h.log.ErrorContext(x.ctx(), "export broken off", "request_id", x.id, "error", err)
			panic(http.ErrAbortHandler)
		}
		if first {
			x.w.Header().Set("Content-Type", contentType)
			if onePage && l.NextCursor != "" {
				x.w.Header().Set("X-Caracal-Next-Cursor", l.NextCursor)
			}
		}
		// A connection that knows no deadlines is bounded by the context alone.
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		sent, _ := x.w.Write(text) // less than all when the client has left
		if sent < len(text) || onePage || l.NextCursor == "" {
			return nil
		}
		page.Cursor = l.NextCursor
	}
}

func encodeLines(events []authority.Event, _ bool) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for _, e := range events {
		if err := encoder.Encode(e); err != nil {
			return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
	}
	return text.Bytes(), nil
}

// columns are the fields of an event that a table has room for; the JSON formats have all of them.
var columns = [...]string{
	"event_id", "event_type", "time", "sequence", "actor_id", "principal_id", "mandate_id", "policy_id",
	"resource", "action", "decision_id", "reason", "policy_code", "message", "revision", "method", "host", "path", "status", "gateway_id",
}

func encodeCSV(events []authority.Event, first bool) ([]byte, error) {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	if first {
		_ = w.Write(columns[:]) // an error stays with the writer and is told by Error below
	}
	for _, e := range events {
		row := row(e)
		for i, cell := range row {
			row[i] = harmless(cell)
		}
		_ = w.Write(row)
	}
	w.Flush()
	return text.Bytes(), w.Error()
}

func row(e authority.Event) []string {
	var request authority.RequestRecord
	if e.Request != nil {
		request = *e.Request
	}
	status, gateway := "", ""
	if e.Outcome != nil {
		status = strconv.Itoa(e.Outcome.Status)
	}
	if e.Gateway != nil {
		gateway = string(e.Gateway.ID)
	}
	return []string{
		string(e.ID), string(e.Type), e.Time.UTC().Format(time.RFC3339Nano), strconv.FormatInt(e.Sequence, 10),
		string(e.ActorID), string(e.PrincipalID), string(e.MandateID), string(e.PolicyID),
		string(e.Resource), string(e.Action), string(e.DecisionID), string(e.Reason), e.PolicyCode, e.Message,
		strconv.FormatUint(e.Revision, 10), request.Method, request.Host, request.Path, status, gateway,
	}
}

// harmless keeps a spreadsheet from taking a cell for a formula.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
