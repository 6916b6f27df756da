// Package webui serves the dashboard: the built app of app/, a login that exchanges a Kubernetes token for a session
// cookie, and the way from that cookie to the REST API. It decides nothing: the API asks Kubernetes who may what.
package webui

import (
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of the dashboard's server, all of them.
const (
	maxSessions  = 4096
	sessionIdle  = 8 * time.Hour
	sessionLife  = 24 * time.Hour
	maxLoginBody = 64 << 10 // bytes; tokens are some KiB
	maxToken     = 16 << 10
	loginBurst   = 10              // tries of one address at once …
	loginPause   = 6 * time.Second // … and then one in this time
	maxAddresses = 4096            // whose tries are counted
	whoamiWithin = 5 * time.Second
	maxWhoami    = 1 << 20         // bytes
	apiAnswers   = 6 * time.Minute // until the API's first byte: an invoke may take five
)

// Deps are what the dashboard stands on.
type Deps struct {
	API *url.URL // base of the REST API, like http://127.0.0.1:3001
	// Code exchanges the one-time code of a link for a Kubernetes token and uses the code up; false: it is none, or is
	// over. It is safe for use by several at once. nil: there are no links.
	Code func(code string) (token string, ok bool)
	// Origin is what browsers call this server, when something before it changes the Host header. Empty: http(s)://Host.
	Origin string
	Files  fs.FS // the built app; nil: the embedded one
	Now    func() time.Time
	Log    *slog.Logger
}

// Server serves the dashboard.
type Server struct {
	Deps
	assets   map[string]asset
	sessions *sessions
	tries    *tries
	proxy    *httputil.ReverseProxy
	client   *http.Client
	handler  http.Handler
}

// New makes the server. Errors: errs.Invalid without an API.
func New(d Deps) (*Server, error) {
	if d.API == nil || d.API.Host == "" || (d.API.Scheme != "http" && d.API.Scheme != "https") {
		return nil, errs.New(errs.Invalid, "the dashboard needs the REST API's URL")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	if d.Files == nil {
		sub, err := fs.Sub(dist, "dist")
		if err != nil {
			return nil, errs.New(errs.Internal, "%w", err)
		}
		d.Files = sub
	}
	s := &Server{Deps: d, sessions: newSessions(d.Now), tries: newTries(d.Now)}
	var err error
	if s.assets, err = loadAssets(d.Files); err != nil {
		return nil, err
	}
	if len(s.assets) == 0 {
		d.Log.Warn("the dashboard is not built", "mend", "make build, with Node.js and npm there")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: apiAnswers}
	s.client = &http.Client{Transport: transport, Timeout: whoamiWithin}
	s.proxy = s.makeProxy(transport)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /session", s.whose)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("/api/", s.toAPI)
	mux.HandleFunc("/", s.app)
	s.handler = headers(mux)
	return s, nil
}

// Built reports whether there is an app to serve.
func (s *Server) Built() bool { return len(s.assets) > 0 }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// policy is the Content-Security-Policy; style is what styles may come from.
func policy(style string) string {
	return "default-src 'none'; script-src 'self'; style-src " + style + "; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}

func securityHeaders() map[string]string {
	return map[string]string{
		"Content-Security-Policy":      policy("'self'"),
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	}
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for h, v := range securityHeaders() {
			w.Header().Set(h, v)
		}
		if r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
