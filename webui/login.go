package webui

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"wasmbed.io/wasmbed/internal/errs"
)

// problem is RFC 9457 with our two members, as the REST API writes it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Mend   string `json:"mend,omitempty"`
}

func refuse(w http.ResponseWriter, code errs.Code, detail, mend string) {
	status := errs.HTTPStatus(errs.New(code, "%s", detail))
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusTooManyRequests {
		h.Set("Retry-After", "6")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem{"about:blank", http.StatusText(status), status, detail, string(code), mend}) // the reader may be gone
}

// refuseFor answers with an error's words and its mend.
func refuseFor(w http.ResponseWriter, err error) {
	mend := ""
	var e *errs.Error
	if errors.As(err, &e) {
		bare := *e
		mend, bare.Mend = e.Mend, ""
		err = &bare
	}
	refuse(w, errs.CodeOf(err), err.Error(), mend)
}

// cookieName is of this server's port: cookies are shared by all ports of a host, and two platforms on one machine must
// not log each other's people out.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "wasmbed_" + port
	}
	return "wasmbed"
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || strings.HasPrefix(s.Origin, "https:")})
}

func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	return s.sessions.get(c.Value)
}

// ours reports whether a request comes from a page of this server. Browsers send Origin with every unsafe request and
// every WebSocket.
func (s *Server) ours(r *http.Request) bool {
	got := r.Header.Get("Origin")
	if s.Origin != "" {
		return got == s.Origin
	}
	u, err := url.Parse(got)
	return err == nil && u.Host != "" && u.Host == r.Host && (u.Scheme == "http" || u.Scheme == "https")
}

type sessionAnswer struct {
	User string `json:"user"`
	CSRF string `json:"csrf"`
}

func answer(w http.ResponseWriter, x *session) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(sessionAnswer{x.user, x.csrf}) // the reader may be gone
}

// whose says whose session the cookie is of, and what its unsafe requests must carry.
func (s *Server) whose(w http.ResponseWriter, r *http.Request) {
	x := s.session(r)
	if x == nil {
		refuse(w, errs.Unauthenticated, "you are not logged in", "log in with a Kubernetes token, or with the link that make run printed")
		return
	}
	answer(w, x)
}

const tokenMend = "kubectl create token NAME makes one; make run leaves an administrator's in its state folder"

// login exchanges a token, or a link's code, for a session.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Token string `json:"token"`
		Code  string `json:"code"` // of a link, instead
	}
	if !s.ours(r) {
		refuse(w, errs.Denied, "the login must come from the dashboard's own page", "open the dashboard by the address that it is served at")
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLoginBody)).Decode(&body); err != nil {
		refuse(w, errs.Invalid, "the body is neither {\"token\": …} nor {\"code\": …}", "")
		return
	}
	x, err := s.enter(r, body.Token, body.Code)
	if err != nil {
		refuseFor(w, err)
		return
	}
	s.setCookie(w, r, x.id, int(sessionLife/time.Second))
	answer(w, x)
}

// Link is a link that logs in to the dashboard at base. The code stands behind the #: browsers send that to nobody, so
// it is in no log, no Referer and no prefetch; the page takes it off the address and posts it.
func Link(base, code string) string {
	return strings.TrimRight(base, "/") + "/#code=" + url.QueryEscape(code)
}

// enter opens a session for a token that the API knows, or for a link's code. Errors: Exhausted, Unauthenticated,
// Unavailable.
func (s *Server) enter(r *http.Request, token, code string) (*session, error) {
	if !s.tries.take(address(r)) {
		return nil, errs.New(errs.Exhausted, "too many logins from this address: wait a moment")
	}
	if code != "" {
		ok := false
		if s.Code != nil {
			token, ok = s.Code(code)
		}
		if !ok {
			return nil, errs.New(errs.Unauthenticated, "this link was used already, or is too old").WithMend("standalone link prints a new one")
		}
	}
	token = strings.TrimSpace(token)
	if token == "" || len(token) > maxToken {
		return nil, errs.New(errs.Unauthenticated, "this is not a token").WithMend(tokenMend)
	}
	user, err := s.whoami(r.Context(), token)
	if err != nil {
		return nil, err
	}
	s.tries.forget(address(r))
	s.Log.Info("logged in", "user", user, "address", address(r))
	return s.sessions.open(token, user), nil
}

// whoami asks the API whose token it is.
func (s *Server) whoami(ctx context.Context, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.API.JoinPath("api/v1/whoami").String(), nil)
	if err != nil {
		return "", errs.New(errs.Internal, "%w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.client.Do(req)
	if err != nil {
		return "", errs.New(errs.Unavailable, "the REST API does not answer: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return "", errs.New(errs.Unauthenticated, "Kubernetes does not know this token").WithMend(tokenMend)
	case resp.StatusCode != http.StatusOK:
		return "", errs.New(errs.Unavailable, "the REST API answers %s", resp.Status)
	}
	var who struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxWhoami)).Decode(&who); err != nil {
		return "", errs.New(errs.Unavailable, "the REST API says nothing of use: %w", err)
	}
	return who.Name, nil
}

// logout ends the session and what it has open.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	x := s.session(r)
	if x != nil && !s.safe(w, r, x) {
		return
	}
	if x != nil {
		s.sessions.close(x.id)
	}
	s.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tries counts logins by address.
type tries struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[string]*rate.Limiter
}

func newTries(now func() time.Time) *tries { return &tries{now: now, by: map[string]*rate.Limiter{}} }

func (t *tries) take(from string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	l := t.by[from]
	if l == nil {
		for a, other := range t.by {
			if len(t.by) < maxAddresses {
				break
			}
			if other.TokensAt(now) >= loginBurst {
				delete(t.by, a)
			}
		}
		if len(t.by) >= maxAddresses {
			return false // thousands of addresses are trying at once
		}
		l = rate.NewLimiter(rate.Every(loginPause), loginBurst)
		t.by[from] = l
	}
	return l.AllowN(now, 1)
}

// forget starts an address anew: who has a token may log in often.
func (t *tries) forget(from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, from)
}
