package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"wasmbed.io/wasmbed/internal/errs"
)

// Problem is an error as RFC 9457 has it, with Wasmbed's code and, where there is one, the mend.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"`
	Code     string `json:"code"`
	Mend     string `json:"mend,omitempty"`
}

func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		err = errs.New(errs.TooLarge, "the body is larger than %d bytes", tooBig.Limit)
	}
	status := errs.HTTPStatus(err)
	if status == http.StatusOK { // Stale: nothing was changed, which for a caller is a conflict
		status = http.StatusConflict
	}
	writeProblemStatus(w, r, status, err)
}

// problemOf describes an error without a request.
func problemOf(err error) Problem {
	status := errs.HTTPStatus(err)
	if status == http.StatusOK {
		status = http.StatusConflict
	}
	return describe(status, err)
}

func describe(status int, err error) Problem {
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: string(errs.CodeOf(err)), Detail: err.Error()}
	var e *errs.Error
	if errors.As(err, &e) {
		p.Mend = e.Mend
		bare := *e
		bare.Mend = ""
		p.Detail = bare.Error()
	}
	if p.Code == string(errs.Internal) {
		p.Detail = "the server failed on this request; its log has the cause"
	}
	return p
}

func writeProblemStatus(w http.ResponseWriter, r *http.Request, status int, err error) {
	p := describe(status, err)
	p.Instance = r.URL.Path
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="wasmbed"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone; there is nobody left to tell
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errs.New(errs.Internal, "encode the answer: %w", err)
	}
	if s, ok := w.(*selecting); ok && status < http.StatusBadRequest {
		if b, err = s.fields.of(b); err != nil {
			return err
		}
	}
	if version := versionOf(v); version != "" {
		setETag(w, version)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // as above
	return nil
}
