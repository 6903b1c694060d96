package main

import (
	"context"
	"errors"
	"net/url"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/gateway"
)

// exitStatus is what a command's end tells a script.
type exitStatus int

// The exit statuses.
const (
	exitDone            exitStatus = 0
	exitFailed          exitStatus = 1
	exitUsage           exitStatus = 2
	exitRefused         exitStatus = 3
	exitUnreachable     exitStatus = 4
	exitUnauthenticated exitStatus = 5
	exitNotFound        exitStatus = 6
	exitPending         exitStatus = 7
	exitInterrupted     exitStatus = 130
)

// exitMeanings is the table of the reference.
func exitMeanings() []struct {
	status  exitStatus
	meaning string
} {
	return []struct {
		status  exitStatus
		meaning string
	}{
		{exitDone, "done; for `caracal doctor`: nothing is wrong"},
		{exitFailed, "something else failed: a file, an answer that is none; for `caracal doctor`: something is wrong"},
		{exitUsage, "the command line, a setting or an input cannot be meant"},
		{exitRefused, "the control plane refused: a rule, a right, a conflict, a gateway that is revoked or has a wrong key; or the answer of `caracal mandate validate` or `caracal destination test` is a denial"},
		{exitUnreachable, "no control plane answers, or it cannot do its work for now: trying again may help"},
		{exitUnauthenticated, "there is no key, or it is not accepted"},
		{exitNotFound, "there is no such thing, or it is not the key's to see"},
		{exitPending, "the change is made, but not known to be in force at every gateway yet"},
		{exitRunFailed, "`caracal run` did not get as far as its command"},
		{exitNotRunnable, "the command of `caracal run` cannot be started"},
		{exitNoCommand, "the command of `caracal run` is not there; else it ends with its command's own status, or 128 and the number of the signal that ended it"},
		{exitInterrupted, "interrupted by Ctrl-C"},
	}
}

// statusOf is the exit status of what came of a command.
func statusOf(err error) exitStatus {
	var (
		usage   *usageError
		pending *pendingError
		noKey   *unauthenticatedError
		absent  *absentError
		refusal *client.Error
		network *url.Error // of net/http; a file that is not there is a net.Error as well
		ran     *ranError
		notRun  *notRunError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ran):
		return ran.status
	case errors.As(err, &notRun):
		if errors.Is(err, context.Canceled) {
			return exitInterrupted
		}
		return notRun.status
	case errors.Is(err, errDenied), errors.Is(err, gateway.ErrRefused):
		return exitRefused
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &pending):
		return exitPending
	case errors.As(err, &noKey):
		return exitUnauthenticated
	case errors.As(err, &absent):
		return exitNotFound
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &refusal):
		return statusOfRefusal(refusal)
	case errors.As(err, &network):
		return exitUnreachable
	}
	return exitFailed
}

func statusOfRefusal(e *client.Error) exitStatus {
	switch authority.Code(e.Code) {
	case authority.CodeUnauthenticated:
		return exitUnauthenticated
	case authority.CodeNotFound:
		return exitNotFound
	case authority.CodeLimited, authority.CodeUnavailable:
		return exitUnreachable
	default:
	}
	switch {
	case e.Code == client.CodeUnexpected && e.Status >= 500:
		return exitUnreachable // a proxy's answer
	case e.Code == client.CodeUnexpected || e.Status >= 500:
		return exitFailed
	}
	return exitRefused
}
