package webui

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// csrfHeader carries the session's second secret: another site's page can make a browser send the cookie in some ways,
// but it can neither read that secret nor set this header.
const csrfHeader = "X-Wasmbed-CSRF"

// safe reports whether a session's request may change something, and answers it when not.
func (s *Server) safe(w http.ResponseWriter, r *http.Request, x *session) bool {
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if reads && !upgrade {
		return true
	}
	if !s.ours(r) {
		refuse(w, errs.Denied, "the request does not come from the dashboard's own page", "")
		return false
	}
	// A browser cannot set headers of a WebSocket; its Origin it cannot forge.
	if !reads && subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(x.csrf)) != 1 {
		refuse(w, errs.Denied, "the header "+csrfHeader+" is not this session's", "load the page anew")
		return false
	}
	return true
}

// toAPI hands a request of a session to the REST API, with the session's token.
func (s *Server) toAPI(w http.ResponseWriter, r *http.Request) {
	x := s.session(r)
	if x == nil {
		refuse(w, errs.Unauthenticated, "you are not logged in", "log in to the dashboard; programs speak to the REST API itself, with a bearer token")
		return
	}
	if !s.safe(w, r, x) {
		return
	}
	for h := range securityHeaders() {
		w.Header().Del(h) // the proxied answer brings its own
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), sessionKey{}, x))
	defer cancel()
	defer context.AfterFunc(x.ctx, cancel)() // streams end with the session
	s.proxy.ServeHTTP(w, r.WithContext(ctx))
}

type sessionKey struct{}

func (s *Server) makeProxy(transport http.RoundTripper) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // streams are to be seen at once
		ErrorLog:      slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(s.API)
			p.SetXForwarded()
			p.Out.Header.Del("Cookie")
			p.Out.Header.Del("Origin") // it was checked, and is not the API's
			p.Out.Header.Del(csrfHeader)
			p.Out.Header.Del("Authorization")
			if x, ok := p.In.Context().Value(sessionKey{}).(*session); ok {
				p.Out.Header.Set("Authorization", "Bearer "+x.token)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Del("Set-Cookie")
			resp.Header.Del("Www-Authenticate")     // browsers would ask for a password
			for h, own := range securityHeaders() { // what the API says of its own pages stands
				if resp.Header.Get(h) == "" {
					resp.Header.Set(h, own)
				}
			}
			if x, ok := resp.Request.Context().Value(sessionKey{}).(*session); ok && resp.StatusCode == http.StatusUnauthorized {
				s.sessions.close(x.id) // the token is over, and so is what stood on it
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the reader is gone
			}
			for h, own := range securityHeaders() {
				w.Header().Set(h, own)
			}
			s.Log.Warn("the REST API cannot be reached", "error", err)
			refuse(w, errs.Unavailable, "the REST API does not answer", "wasmbed status, or the log of part api, says more; this page tries again by itself")
		},
	}
}
