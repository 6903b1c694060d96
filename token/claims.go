package token

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// maxUnix is the last second that RFC 3339 can write.
const maxUnix = 253402300799

// audience is the one audience of what is signed for a purpose in a workspace.
func audience(workspace authority.WorkspaceID, purpose Purpose) string {
	return string(workspace) + "/" + string(purpose)
}

// instant is a member that must be a whole number of seconds since 1970, written as digits only.
func (o object) instant(name string) (time.Time, error) {
	digits := string(o[name])
	seconds, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || seconds > maxUnix || strconv.FormatUint(seconds, 10) != digits {
		return time.Time{}, fmt.Errorf("%w: %s is not a whole number of seconds", ErrClaims, name)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// addressed checks who issued the claims, and for whom.
func (o object) addressed(deployment, audience string) error {
	iss, err := o.text("iss")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClaims, err)
	}
	aud, err := o.text("aud")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClaims, err)
	}
	if iss != deployment {
		return ErrIssuer
	}
	if aud != audience {
		return ErrAudience
	}
	return nil
}
