package gateway

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wasmbed.io/wasmbed/internal/errs"
)

// newHTTP is the HTTP side:
//
//	GET  /healthz   the process lives
//	GET  /readyz    Redis and the broker answer, trust anchors are there, and it is not draining; else 503
//	GET  /metrics   Prometheus
//	GET  /sessions  counts, for people who look for something
//	POST /drain     end all sessions and stop, as SIGTERM does; from the loopback address, or with the token
func (g *Gateway) newHTTP(reg *prometheus.Registry) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", g.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /sessions", g.serveSessions)
	mux.HandleFunc("POST /drain", g.serveDrain)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
}

// check is one part of readiness.
type check struct {
	OK   bool   `json:"ok"`
	Note string `json:"note,omitempty"`
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready    bool  `json:"ready"`
	Redis    check `json:"redis"`
	Broker   check `json:"broker"`
	Trust    check `json:"trust"`
	Settings check `json:"settings"` // ok without a Gateway object too: then the note says that defaults hold
	Draining bool  `json:"draining"`
}

// Ready tells whether this process can serve devices now.
func (g *Gateway) Ready() Readiness {
	now := g.now()
	recent := func(ns int64) bool { return ns != 0 && now.Sub(time.Unix(0, ns)) < readyAge }
	r := Readiness{Draining: g.draining.Load(), Settings: check{OK: true}}
	if p := g.redisErr.Load(); p != nil {
		r.Redis.Note = (*p).Error()
	} else if r.Redis.OK = recent(g.redisOK.Load()); !r.Redis.OK {
		r.Redis.Note = "no answer yet"
	}
	at, err := g.uplink.Health()
	switch {
	case err != nil:
		r.Broker.Note = err.Error()
	case now.Sub(at) < readyAge, recent(g.brokerOK.Load()):
		r.Broker.OK = true
	default:
		r.Broker.Note = "no answer yet"
	}
	if t := g.trust.Load(); t != nil && t.roots != nil {
		r.Trust.OK = true
	} else {
		r.Trust.Note = "no trust anchors of namespace " + g.cfg.Namespace + " in Redis"
	}
	switch set := g.settings(); {
	case set.disabled:
		// Ready all the same: devices are to hear from it that they shall come later.
		r.Settings.Note = "Gateway " + g.subject + " is switched off: no session is taken"
	case !set.found:
		r.Settings.Note = "there is no Gateway " + g.subject + ": defaults hold"
	}
	r.Ready = r.Redis.OK && r.Broker.OK && r.Trust.OK && !r.Draining
	return r
}

func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	r := g.Ready()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	serveJSON(w, status, r)
}

func serveJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}

// probeBroker looks whether the broker is there while there is nothing to post.
func (g *Gateway) probeBroker() {
	if at, err := g.uplink.Health(); err == nil && g.now().Sub(at) < readyAge/2 {
		return
	}
	if err := g.probe(); err != nil {
		g.log.Debug("broker", "err", err)
		return
	}
	g.brokerOK.Store(g.now().UnixNano())
}

// Counts is the body of /sessions.
type Counts struct {
	Connections  int    `json:"connections"`
	Devices      int    `json:"devices"`
	FirstContact int    `json:"firstContact"`
	Transfers    int    `json:"transfers"`
	Waiting      int    `json:"waiting"` // events and batches that the broker has not accepted yet
	Era          string `json:"era"`
	Draining     bool   `json:"draining"`
}

// Counts tells what is going on.
func (g *Gateway) Counts() Counts {
	era, _ := g.era.Load().(string)
	g.admission.mu.Lock()
	first := g.admission.first
	g.admission.mu.Unlock()
	return Counts{
		Connections: g.hub.size(), Devices: g.hub.devicesOpen(), FirstContact: first, Transfers: g.transfers.running(),
		Waiting: g.uplink.Waiting(), Era: era, Draining: g.draining.Load(),
	}
}

func (g *Gateway) serveSessions(w http.ResponseWriter, _ *http.Request) {
	serveJSON(w, http.StatusOK, g.Counts())
}

func (g *Gateway) serveDrain(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	given := g.cfg.DrainToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(g.cfg.DrainToken)) == 1
	if !given && !(g.cfg.DrainToken == "" && isLoopback(r.RemoteAddr)) {
		err := errs.New(errs.Denied, "draining needs the token of WASMBED_DRAIN_TOKEN, or the loopback address when there is none")
		http.Error(w, err.Error(), errs.HTTPStatus(err))
		return
	}
	g.ask()
	w.WriteHeader(http.StatusAccepted)
}
