package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"wasmbed.io/wasmbed/internal/errs"
)

// rates bounds what one user asks, whoever else asks meanwhile.
type rates struct {
	mu    sync.Mutex
	users map[string]*rate.Limiter
}

// allow takes one request of a user. Errors: Exhausted.
func (r *rates) allow(u User, now time.Time) error {
	r.mu.Lock()
	if r.users == nil || len(r.users) >= maxRates {
		r.users = map[string]*rate.Limiter{} // a crowd has passed: everybody begins anew
	}
	l := r.users[u.Name]
	if l == nil {
		l = rate.NewLimiter(ratePerSecond, rateBurst)
		r.users[u.Name] = l
	}
	r.mu.Unlock()
	if !l.AllowN(now, 1) {
		return errs.New(errs.Exhausted, "%s asks more than %d times a second", u.Name, ratePerSecond).WithMend("follow a stream instead of asking again and again; Retry-After says when to go on")
	}
	return nil
}

// kept is the answer to a request that carried an Idempotency-Key.
type kept struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Body   []byte `json:"body"`
}

// once answers a POST that is repeated with the same Idempotency-Key from what was answered before, for a day, so that
// a client which lost the answer may ask again. The key is the caller's own: another user's is another.
func (a *API) once(w http.ResponseWriter, r *request, handle func(http.ResponseWriter, *request) error) error {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Method != http.MethodPost {
		return handle(w, r)
	}
	if len(key) > maxIdempotent {
		return errs.New(errs.Invalid, "an Idempotency-Key has at most %d bytes", maxIdempotent)
	}
	source := "/wasmbed/functions/api/" + r.user.Name + r.URL.Path
	first, value, err := a.Ledger.Once(r.Context(), source, key)
	if err != nil {
		return err
	}
	if !first {
		var k kept
		if value == "" || json.Unmarshal([]byte(value), &k) != nil {
			return errs.New(errs.Conflict, "the request with this Idempotency-Key is being worked on, or its answer was not kept").WithMend("look whether it had its effect before you ask under another key")
		}
		w.Header().Set("Content-Type", k.Type)
		w.Header().Set("Idempotency-Replayed", "true")
		w.WriteHeader(k.Status)
		_, _ = w.Write(k.Body) // the client may be gone
		return nil
	}
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	if err := handle(rec, r); err != nil {
		writeProblem(rec, r.Request, err)
	}
	if rec.body.Len() <= replayMost && !holdsSecret(r) {
		b, err := json.Marshal(kept{rec.status, w.Header().Get("Content-Type"), rec.body.Bytes()})
		if err == nil {
			err = a.Ledger.SetOnce(r.Context(), source, key, string(b))
		}
		if err != nil {
			a.Log.Warn("the answer was not kept for a repeated request", "path", r.URL.Path, "err", err)
		}
	}
	return nil
}

// holdsSecret reports whether the answer to a request is a secret that is shown once: it is kept nowhere.
func holdsSecret(r *request) bool { return strings.HasSuffix(r.URL.Path, "/tokens") }

// recorder keeps what is answered.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.body.Len() <= replayMost {
		r.body.Write(b)
	}
	return r.ResponseWriter.Write(b)
}
