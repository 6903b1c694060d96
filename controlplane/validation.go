package controlplane

import (
	"context"
	"errors"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/rego"
	"github.com/caracal-gateway/caracal/token"
)

// Validation asks whether a mandate covers one action on one literal resource.
type Validation struct {
	MandateID         authority.MandateID `json:"mandate_id"`
	RequestedAction   string              `json:"requested_action"`
	RequestedResource string              `json:"requested_resource"`
	// PresenterToken (an access token) or PresenterID says who presented the mandate to a service that asks.
	PresenterToken string                `json:"presenter_token,omitempty"`
	PresenterID    authority.PrincipalID `json:"presenter_id,omitempty"`
	// PresenterConfirmation is the client certificate that the presenter showed to the service.
	PresenterConfirmation *authority.Confirmation `json:"presenter_confirmation,omitempty"`
}

// The two decisions that a validation answers.
const (
	DecisionAllowed = "allowed"
	DecisionDenied  = "denied"
)

// ValidationAnswer is the outcome of a validation. DenialReason is nil when it is allowed.
type ValidationAnswer struct {
	Allowed      bool                  `json:"allowed"`
	Decision     string                `json:"decision"`
	DenialReason *authority.Reason     `json:"denial_reason"`
	Message      string                `json:"message,omitempty"`
	PolicyCode   string                `json:"policy_code,omitempty"` // the Rego policy's own code
	MandateID    authority.MandateID   `json:"mandate_id"`
	SubjectID    authority.PrincipalID `json:"subject_id,omitempty"` // empty where the mandate is not the caller's to know
	DecisionID   authority.DecisionID  `json:"decision_id"`
	// Inquiry marks an answer to an issuer or an owner, for whom nobody presented the mandate.
	Inquiry bool `json:"inquiry"`
}

// judgement is one validation while it is decided.
type judgement struct {
	inquiry   authority.Inquiry
	marked    bool // nobody presented the mandate
	workspace authority.Workspace
	finding   authority.Finding
	rego      authority.RegoVersionID
	code      string // the Rego policy's own
}

// deny ends the judgement with a reason.
func (j *judgement) deny(reason authority.Reason, message string) {
	if message == "" {
		message = reason.Message()
	}
	j.finding.Reason, j.finding.Message = reason, message
}

// ValidateMandate decides whether a mandate covers a request, as a gateway would: the checks in Go, then Rego. Every
// question gets an answer and an event, whatever the answer is; an error means that it was not decided.
//
// An agent presents its mandates itself. A service says who presented one to it. The issuer and an owner inquire.
func (s *Service) ValidateMandate(ctx context.Context, c Caller, v Validation) (ValidationAnswer, error) {
	op := allowed("validate_mandate").quietly()
	resource, err := authority.ParseResource(v.RequestedResource)
	if err != nil {
		return ValidationAnswer{}, authority.Within("requested_resource", err)
	}
	action, err := authority.ParseAction(v.RequestedAction)
	if err != nil {
		return ValidationAnswer{}, authority.Within("requested_action", err)
	}
	if err := v.PresenterConfirmation.Validate(); err != nil {
		return ValidationAnswer{}, authority.Within("presenter_confirmation", err)
	}
	c.once = once{} // an answer is of its moment: it is never one that was kept
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (ValidationAnswer, error) {
		j := &judgement{inquiry: authority.Inquiry{Mandate: v.MandateID, Resource: resource, Action: action, At: ch.at}}
		if err := s.judge(ctx, tx, ch.caller, v, j); err != nil {
			return ValidationAnswer{}, err
		}
		answer := j.answer(c)
		ch.tell(j.event(answer))
		return answer, nil
	})
	return written.Value, err
}

// judge decides. An error means that something could not be read; every other way ends in a finding.
func (s *Service) judge(ctx context.Context, tx *postgres.Tx, c Caller, v Validation, j *judgement) error {
	known, err := registry(ctx, tx, v.MandateID)
	if err != nil {
		return err
	}
	if j.workspace, err = tx.Workspace(ctx); err != nil {
		return err
	}
	if reason, err := s.present(ctx, tx, c, v, known, j); err != nil {
		return err
	} else if reason != "" {
		j.deny(reason, "")
		return nil
	}
	if j.workspace.State() == authority.WorkspaceDeleted {
		j.deny(authority.ReasonWorkspaceDeleted, "")
		return nil
	}
	j.finding = authority.Validate(known, j.inquiry)
	if !j.finding.Holds() {
		return nil
	}
	if err := s.verify(ctx, tx, j); err != nil || !j.finding.Holds() {
		return err
	}
	active, err := tx.ActiveRego(ctx)
	if err != nil {
		return err
	}
	s.askRego(ctx, active, j)
	return nil
}

// verify checks the signatures of a chain that holds otherwise, as a gateway does.
func (s *Service) verify(ctx context.Context, tx *postgres.Tx, j *judgement) error {
	keys, err := s.openKeys(ctx, tx, j.workspace.ID)
	if err != nil {
		return err
	}
	if keys.verifyChain(j.finding.Chain) != nil {
		j.finding.Facts.Chain = false
		j.deny(authority.ReasonChainInvalid, "A mandate of the chain does not say what was signed.")
	}
	return nil
}

// present establishes who presented the mandate, or the reason why that is not known.
func (s *Service) present(ctx context.Context, tx *postgres.Tx, c Caller, v Validation, known mandateRegistry, j *judgement) (authority.Reason, error) {
	m := known.mandates[v.MandateID]
	named := v.PresenterToken != "" || v.PresenterID != ""
	if named && v.PresenterConfirmation != nil {
		j.inquiry.Certificate = v.PresenterConfirmation.Certificate
	}
	switch {
	case c.mandate != "" && c.mandate != v.MandateID:
		return authority.ReasonMandateNotFound, nil
	case c.principal.Type == authority.Agent && named:
		return "", authority.Forbidden("an agent presents its own mandates; presenter_token and presenter_id are for services")
	case c.principal.Type == authority.Agent && m.IssuerID == c.principal.ID:
		j.marked, j.inquiry.Unpresented = true, true
		j.inquiry.Presenter = m.SubjectID
	case c.principal.Type == authority.Agent:
		j.inquiry.Presenter = c.principal.ID
	case v.PresenterToken != "":
		presenter, proven, err := s.bearer(ctx, tx, c, v, j.inquiry.At)
		if err != nil {
			return "", err
		}
		if !proven {
			return authority.ReasonAuthFailed, nil
		}
		j.inquiry.Presenter = presenter
	case v.PresenterID != "":
		j.inquiry.Presenter = v.PresenterID
	case c.isMember(), m.IssuerID == c.principal.ID:
		j.marked, j.inquiry.Unpresented = true, true
		j.inquiry.Presenter = m.SubjectID
	default:
		return authority.ReasonPresenterRequired, nil
	}
	return "", nil
}

// bearer is whom the presenter's token speaks for, one of ours or of a trusted issuer, if it is good, agrees with the
// presenter's id where both are given, and is not bound to another mandate, or to another certificate than the one that the
// presenter showed.
func (s *Service) bearer(ctx context.Context, tx *postgres.Tx, c Caller, v Validation, at time.Time) (authority.PrincipalID, bool, error) {
	keys, err := s.openKeys(ctx, tx, c.workspace)
	if err != nil {
		return "", false, err
	}
	access, refused := keys.set.VerifyConfirmable(v.PresenterToken, at)
	subject, confirmation := access.Subject, access.Confirmation
	if refused != nil {
		issuers, err := issuersOf(ctx, tx)
		if err != nil {
			return "", false, err
		}
		var identity token.Identity
		identity, refused = issuers.Verify(v.PresenterToken, at)
		subject, confirmation = identity.Principal, identity.Confirmation
	}
	var shown authority.Thumbprint
	if v.PresenterConfirmation != nil {
		shown = v.PresenterConfirmation.Certificate
	}
	if refused != nil || !confirmation.MetBy(shown) || access.Mandate != "" && access.Mandate != v.MandateID || v.PresenterID != "" && v.PresenterID != subject {
		return "", false, nil //nolint:nilerr // a token that does not hold is an answer and not an error
	}
	return subject, true, nil
}

// askRego evaluates the base policy and the workspace's own. Whatever goes wrong denies.
func (s *Service) askRego(ctx context.Context, active *authority.RegoVersion, j *judgement) {
	policy, err := s.policies.of(ctx, active)
	if active != nil {
		j.rego = active.ID
	}
	if err != nil {
		s.log.Error("Rego policy not compiled", "workspace", j.workspace.ID, "version", j.rego, "cause", err)
		j.deny(authority.ReasonPolicyError, "")
		return
	}
	verdict, err := policy.Evaluate(ctx, regoInput(j))
	switch {
	case errors.Is(err, rego.ErrTimeout):
		j.deny(authority.ReasonPolicyTimeout, "")
	case err != nil:
		s.log.Warn("Rego policy failed", "workspace", j.workspace.ID, "version", j.rego, "cause", err)
		j.deny(authority.ReasonPolicyError, "")
	case len(verdict.Denials) > 0:
		j.deny(authority.ReasonPolicyDenied, verdict.Denials[0].Message)
		j.code = verdict.Denials[0].Code
	case len(verdict.Approvals) > 0:
		j.deny(authority.ReasonApprovalRequired, verdict.Approvals[0].Message)
		j.code = verdict.Approvals[0].Code
	case !verdict.Allow:
		j.deny(authority.ReasonPolicyError, "")
	}
}

// regoInput is what policies see of a validation; there is no request.
func regoInput(j *judgement) rego.Input {
	f := j.finding
	m := f.Chain[0]
	links := make([]rego.Link, len(f.Chain))
	for i, link := range f.Chain {
		links[len(links)-1-i] = rego.Link{ID: string(link.ID), IssuerID: string(link.IssuerID), SubjectID: string(link.SubjectID)}
	}
	return rego.Input{
		Request: rego.Request{Mode: rego.ModeValidate},
		Principal: rego.Principal{
			ID: string(f.Presenter.ID), Type: string(f.Presenter.Type), Name: f.Presenter.Name, Metadata: f.Presenter.Metadata,
		},
		Mandate: rego.Mandate{
			ID: string(m.ID), IssuerID: string(m.IssuerID), SubjectID: string(m.SubjectID),
			Resources: texts(m.ResourceScope), Actions: texts(m.ActionScope),
			ValidFrom: m.ValidFrom, ValidUntil: m.ValidUntil, Level: m.Level, DelegationDepth: m.DelegationDepth,
			RequestedBy: string(m.RequestedBy), Consent: string(m.Consent),
			PolicyID: string(m.PolicyID), PolicyVersion: m.PolicyVersion, Chain: links,
		},
		Resource:  string(j.inquiry.Resource),
		Action:    string(j.inquiry.Action),
		Workspace: rego.Workspace{ID: string(j.workspace.ID), Slug: j.workspace.Slug},
		Time:      j.inquiry.At,
		Facts: rego.Facts{
			Known: f.Facts.Known, Presenter: f.Facts.Presenter, Live: f.Facts.NotRevoked,
			PrincipalsActive: f.Facts.PrincipalsActive, WithinTime: f.Facts.WithinTime,
			Action: f.Facts.Action, Resource: f.Facts.Resource, Chain: f.Facts.Chain,
		},
	}
}

func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// answer is the finding in the caller's form. It is a denial unless everything holds.
func (j *judgement) answer(c Caller) ValidationAnswer {
	a := ValidationAnswer{
		Decision: DecisionDenied, MandateID: j.inquiry.Mandate, DecisionID: authority.NewID[authority.DecisionID](),
		Inquiry: j.marked, PolicyCode: j.code,
	}
	if c.isMember() || j.finding.Facts.Presenter {
		a.SubjectID = j.inquiry.Presenter
		if len(j.finding.Chain) > 0 {
			a.SubjectID = j.finding.Chain[0].SubjectID
		}
	}
	if j.finding.Holds() {
		a.Allowed, a.Decision = true, DecisionAllowed
		return a
	}
	reason := j.finding.Reason
	if reason == "" {
		reason = authority.ReasonInternal
	}
	a.DenialReason, a.Message = &reason, j.finding.Message
	return a
}

func (j *judgement) event(a ValidationAnswer) authority.Event {
	e := authority.Event{
		Type: authority.EventValidated, PrincipalID: j.inquiry.Presenter, MandateID: j.inquiry.Mandate,
		Resource: j.inquiry.Resource, Action: j.inquiry.Action, DecisionID: a.DecisionID,
		PolicyCode: j.code, RegoVersion: j.rego,
		Detail: map[string]any{"inquiry": j.marked},
	}
	if !a.Allowed {
		e.Type, e.Reason, e.Message = authority.EventDenied, *a.DenialReason, a.Message
	}
	return e
}
