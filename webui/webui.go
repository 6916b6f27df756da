// Package webui is the status page: what is so, read from the ledger's views and nothing else. It shows what
// the ledger says, never what somebody hoped for. The full dashboard grows here later.
package webui

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

//go:embed templates static
var files embed.FS

// Limits of the page.
const (
	pageSize     = 50 // devices on a page
	maxApps      = 50 // applications shown
	recentEvents = 25
	shownRecords = 20   // of a device's telemetry and log
	seriesPage   = 1000 // records read at once
	maxPages     = 32
	readTimeout  = 5 * time.Second
	cookieName   = "wasmbed"
)

// Recent is one event of the broker, for looking.
type Recent struct {
	Time          time.Time
	Type, Subject string
}

// Deps are what the page reads.
type Deps struct {
	Ledger   *ledger.Ledger
	Affinity *affinity.Affinity
	// Recents reads at most n recent events after a cursor ("" is the oldest kept), oldest first, and returns the
	// next cursor. nil: the page shows none.
	Recents func(ctx context.Context, from string, n int) ([]Recent, string, error)
	// Token opens the page: as ?token= once (which sets a cookie) or as a bearer token. Empty is refused.
	Token string
	Now   func() time.Time
	Log   *slog.Logger
}

// Server serves the page.
type Server struct {
	Deps
	pages   *template.Template
	cookie  string // what the cookie must hold: a digest, so that it is not the token itself
	events  newestEvents
	handler http.Handler
}

// New makes the server. Errors: errs.Invalid without a token.
func New(d Deps) (*Server, error) {
	if d.Token == "" {
		return nil, errs.New(errs.Invalid, "the status page needs a token: there is no door without a lock")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	s := &Server{Deps: d}
	pages, err := template.New("").Funcs(template.FuncMap{"ago": s.ago, "clock": clock, "percent": percent}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, errs.New(errs.Internal, "parse the templates: %w", err)
	}
	s.pages = pages
	sum := sha256.Sum256([]byte("wasmbed cookie\x00" + d.Token))
	s.cookie = hex.EncodeToString(sum[:])
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, errs.New(errs.Internal, "%w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(static)))
	mux.Handle("GET /{$}", s.locked(s.page("overview.html")))
	mux.Handle("GET /fragment", s.locked(s.page("fragment")))
	mux.Handle("GET /devices/{namespace}/{name}", s.locked(http.HandlerFunc(s.device)))
	s.handler = headers(mux)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// locked lets in who has the token. ?token= is exchanged for a cookie and then taken off the address, so that
// it does not stay in the history.
func (s *Server) locked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if t := r.URL.Query().Get("token"); t != "" && same(t, s.Token) {
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
			http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
			return
		}
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		c, err := r.Cookie(cookieName)
		if same(bearer, s.Token) || err == nil && same(c.Value, s.cookie) {
			next.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		s.render(w, "locked.html", nil)
	})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Server) page(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		s.render(w, name, s.overview(ctx, r.URL.Query()))
	})
}

func (s *Server) render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.Log.Error("a page cannot be made", "page", name, "error", err)
		http.Error(w, "this page cannot be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w) // the reader may be gone
}

func (s *Server) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := s.Now().Sub(t); {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return d.Truncate(time.Second).String() + " ago"
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s") + " ago"
	}
	return t.UTC().Format("2006-01-02")
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

func percent(n, of int) int {
	if of == 0 {
		return 0
	}
	return 100 * n / of
}
