package client

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/internal/errs"
)

// toErr gives an error of client-go its code; nil stays nil.
func toErr(err error, doing string) error {
	if err == nil {
		return nil
	}
	return errs.New(codeOf(err), doing+": %w", err)
}

func codeOf(err error) errs.Code {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		// No answer of an API server: the caller's context, or a connection that failed.
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return errs.Deadline
		default:
			return errs.Unavailable
		}
	}
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonNotFound:
		// A server that does not know the resource answers "404 page not found" without a Status object.
		// Taking that for "the object was deleted" would undeploy a fleet while a CRD is being replaced.
		if apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
			return errs.Unavailable
		}
		return errs.NotFound
	case metav1.StatusReasonAlreadyExists:
		return errs.AlreadyExists
	case metav1.StatusReasonConflict, metav1.StatusReasonExpired, metav1.StatusReasonGone:
		return errs.Conflict
	case metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonMethodNotAllowed,
		metav1.StatusReasonNotAcceptable, metav1.StatusReasonUnsupportedMediaType:
		return errs.Invalid
	case metav1.StatusReasonForbidden:
		return errs.Denied
	case metav1.StatusReasonUnauthorized:
		return errs.Unauthenticated
	case metav1.StatusReasonTooManyRequests:
		return errs.Exhausted
	case metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout:
		return errs.Deadline
	case metav1.StatusReasonRequestEntityTooLarge:
		return errs.TooLarge
	}
	if code := int(status.Status().Code); code >= http.StatusBadRequest {
		return errs.FromHTTP(code)
	}
	return errs.Unavailable
}
