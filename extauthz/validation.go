package extauthz

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/rego"
)

// Question asks whether a mandate covers one action on one literal resource.
type Question struct {
	MandateID authority.MandateID `json:"mandate_id"`
	Action    authority.Action    `json:"requested_action"`
	Resource  authority.Resource  `json:"requested_resource"`
	// PresenterToken (an access token) or PresenterID says who presented the mandate to a service that asks.
	PresenterToken string                `json:"presenter_token,omitempty"`
	PresenterID    authority.PrincipalID `json:"presenter_id,omitempty"`
	// PresenterConfirmation is the client certificate that the presenter showed to the service.
	PresenterConfirmation *authority.Confirmation `json:"presenter_confirmation,omitempty"`
	// Certificate is the one that the caller itself has shown; empty for none. It is no part of what a caller says.
	Certificate authority.Thumbprint `json:"-"`
}

// Validation answers a Question. DenialReason is nil when it is allowed.
type Validation struct {
	Allowed      bool                  `json:"allowed"`
	Decision     string                `json:"decision"` // allowed or denied
	DenialReason *authority.Reason     `json:"denial_reason"`
	Message      string                `json:"message,omitempty"`
	PolicyCode   string                `json:"policy_code,omitempty"`
	MandateID    authority.MandateID   `json:"mandate_id"`
	SubjectID    authority.PrincipalID `json:"subject_id,omitempty"` // empty where the mandate is not the caller's to know
	DecisionID   authority.DecisionID  `json:"decision_id"`
	// Inquiry marks an answer to an issuer or an owner, for whom nobody presented the mandate.
	Inquiry bool `json:"inquiry"`
}

// Validate answers a caller's question from the same evaluation as a request's, Rego included, and records it. An
// unknown or revoked mandate is an answer. An error is an *authority.Error for a question that cannot be answered: a
// malformed one, or a service's that does not say who presented the mandate; or a *Denial when there is nothing to
// answer from.
func (s *Service) Validate(ctx context.Context, caller Caller, q Question) (Validation, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if err := q.check(); err != nil {
		return Validation{}, err
	}
	if caller.Mandate != "" && caller.Mandate != q.MandateID {
		return Validation{}, because(authority.ReasonTokenBound)
	}
	j := &judgement{id: authority.NewID[authority.DecisionID](), at: s.clock.Now()}
	var err error
	for ctx.Err() == nil {
		state := s.current.Load()
		if j.snapshot = state.snapshot; j.snapshot == nil {
			return Validation{}, errNoState()
		}
		j.findings = findings{mandate: q.MandateID, resource: q.Resource, action: q.Action}
		j.certificate = q.shown(caller.Principal)
		if j.caller, j.inquiry, err = j.presenter(caller.Principal, q); err != nil {
			return Validation{}, err
		}
		err = s.guard(func() error {
			if err := j.snapshot.open(); err != nil {
				return err
			}
			finding, err := j.validate([]authority.Action{q.Action})
			if err != nil {
				return err
			}
			_, err = s.consult(ctx, j, finding, rego.Request{Mode: rego.ModeValidate})
			return err
		})
		switch verdict, _ := s.pass(state.number); verdict {
		case lease.Passes:
			return s.answerQuestion(j, caller.Principal, s.explain(j, err)), nil
		case lease.Superseded:
		default:
			return Validation{}, because(authority.ReasonLeaseExpired)
		}
	}
	return Validation{}, errRestless()
}

func (q Question) check() error {
	if _, err := authority.ParseAction(string(q.Action)); err != nil {
		return authority.Within("requested_action", err)
	}
	if _, err := authority.ParseResource(string(q.Resource)); err != nil {
		return authority.Within("requested_resource", err)
	}
	if q.PresenterConfirmation != nil {
		return authority.Within("presenter_confirmation", q.PresenterConfirmation.Validate())
	}
	return nil
}

// shown is the certificate that the mandate was presented with: a service tells the presenter's, anybody else shows its own.
func (q Question) shown(caller authority.Principal) authority.Thumbprint {
	switch {
	case caller.Type != authority.Service || q.PresenterToken == "" && q.PresenterID == "":
		return q.Certificate
	case q.PresenterConfirmation == nil:
		return ""
	}
	return q.PresenterConfirmation.Certificate
}

// presenter says on whose behalf a question is judged. A subject presents its own mandate; a service tells who did;
// for the issuer and for an owner nobody did, and the mandate is judged as if its subject had.
func (j *judgement) presenter(caller authority.Principal, q Question) (presenter authority.PrincipalID, inquiry bool, err error) {
	m, known := j.snapshot.Mandate(q.MandateID)
	switch {
	case caller.Type == authority.Service && q.PresenterToken != "":
		principal, err := j.snapshot.bearer(q.PresenterToken, j.certificate, q.MandateID, j.at)
		if err != nil || q.PresenterID != "" && q.PresenterID != principal.ID {
			return "", false, authority.Invalid("presenter_token", "is not an access token of this workspace that is valid now")
		}
		return principal.ID, false, nil
	case caller.Type == authority.Service && q.PresenterID != "":
		return q.PresenterID, false, nil
	case known && m.SubjectID == caller.ID:
		return caller.ID, false, nil
	case known && (m.IssuerID == caller.ID || caller.Administers()):
		return m.SubjectID, true, nil
	case caller.Type == authority.Service:
		return "", false, &authority.Error{
			Code: authority.CodeInvalid, Reason: authority.ReasonPresenterRequired, Field: "presenter_token",
			Message: authority.ReasonPresenterRequired.Message(),
		}
	}
	return caller.ID, false, nil
}

func (s *Service) answerQuestion(j *judgement, caller authority.Principal, denial *Denial) Validation {
	s.decisions.Add(1)
	event := j.event(authority.EventValidated, denial)
	event.ActorID = caller.ID
	if failed := s.guard(func() error { s.recorder.Record(event); return nil }); failed != nil {
		denial = denialOf(failed)
	}
	answer := Validation{MandateID: j.mandate, DecisionID: j.id, Inquiry: j.inquiry, Decision: "denied"}
	if m, known := j.snapshot.Mandate(j.mandate); known && (m.SubjectID == j.caller || j.inquiry) {
		answer.SubjectID = m.SubjectID
	}
	if denial != nil {
		answer.DenialReason, answer.Message, answer.PolicyCode = &denial.Reason, denial.Message, denial.Code
		return answer
	}
	answer.Allowed, answer.Decision = true, "allowed"
	return answer
}
