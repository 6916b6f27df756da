// Package api is the REST API: the door for people and programs that do not speak Kubernetes. It reads the
// ledger's views, writes CRDs and posts events; it decides nothing. docs/spec/rest.md is its contract.
package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/julienschmidt/httprouter"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/broker/affinity"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
	"wasmbed.io/wasmbed/internal/trace"
)

// Poster takes an event durably (event.Sink).
type Poster interface {
	Post(ctx context.Context, e ce.Event) error
}

// Recorded is an event that the broker took, with the cursor behind it.
type Recorded struct {
	Cursor string
	Event  ce.Event
}

// Recents reads the broker's recent events after a cursor ("" from the oldest kept, "$" from now), waiting
// up to block for one. Errors: errs.Unavailable.
type Recents func(ctx context.Context, from string, n int, block time.Duration) ([]Recorded, string, error)

// Deps are what the API stands on.
type Deps struct {
	Client   *client.Set
	Ledger   *ledger.Ledger
	Affinity *affinity.Affinity
	Auth     Authority
	Events   Poster
	Recents  Recents
	// RecentsIn reads one namespace's events, where the broker in use has them apart; nil: Recents is searched.
	RecentsIn func(namespace string) Recents
	Now       func() time.Time
	Log       *slog.Logger
	Console   Console         // of emulated boards; nil: there is no provisioner
	Boards    []Board         // the table of boards
	Compiler  source.Compiler // nil: nothing is compiled here
	Broker    Broker          // nil: the broker in use has no such doors
	Trace     *trace.Tracer   // nil: nothing is traced
	AsCaller  AsCaller        // nil: no service tokens are made here
	PartLogs  PartLogs        // nil: the parts' logs are somewhere else
	Meters    map[string]Meter
	// RedisInfo answers Redis' INFO; nil: nothing is told of Redis.
	RedisInfo func(ctx context.Context) (string, error)
	// Health answers for parts that the API does not use itself; by name, nil is healthy.
	Health map[string]func(context.Context) error
}

// API serves the routes.
type API struct {
	Deps
	handler  http.Handler
	consoles chan struct{} // those that are followed
	started  time.Time

	lives    atomic.Int64 // WebSockets
	rates    rates
	door     hookDoor
	index    *index
	meters   *meters
	contract func() ([]byte, error) // of OpenAPI

	overviewMu sync.Mutex
	overviews  map[string]*overviewAnswer // by namespace
}

// New makes the API. Now and Log have defaults.
func New(d Deps) *API {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	d.Client = client.Traced(d.Client, d.Now)
	d.Client = checked(d)
	a := &API{Deps: d, consoles: make(chan struct{}, maxConsoles), started: d.Now(), overviews: map[string]*overviewAnswer{}}
	a.index = newIndex(d.Ledger, d.Now, d.Log)
	a.meters = &meters{d: d, now: d.Now, own: processBegan(d.Now())}
	a.contract = a.makeContract()
	r := httprouter.New()
	r.HandleMethodNotAllowed = true
	r.NotFound = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		writeProblem(w, req, errs.New(errs.NotFound, "there is nothing at %s", req.URL.Path).WithMend("docs/spec/rest.md lists the routes"))
	})
	r.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		writeProblemStatus(w, req, http.StatusMethodNotAllowed, errs.New(errs.Unsupported, "%s does not take %s", req.URL.Path, req.Method))
	})
	r.PanicHandler = func(w http.ResponseWriter, req *http.Request, p any) {
		d.Log.Error("a handler panicked", "path", req.URL.Path, "panic", p)
		writeProblem(w, req, errs.New(errs.Internal, "the server failed on this request"))
	}
	r.GET("/healthz", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) { w.WriteHeader(http.StatusOK) })
	docsPage(r)
	for _, rt := range a.routes() {
		r.Handle(rt.method, rt.path, a.guard(rt))
	}
	a.handler = http.MaxBytesHandler(eventPaths(r), maxBody)
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

const eventsPath = "/api/v1/events"

// recentsOf reads the recent events of a namespace, or of all ("").
func (a *API) recentsOf(namespace string) Recents {
	if namespace != "" && a.RecentsIn != nil {
		return a.RecentsIn(namespace)
	}
	return a.Recents
}

// Limits of the API, all of them.
const (
	maxBody      = 2 << 20 // bytes of a request's body: an Application with its module inline
	defaultPage  = 100
	maxPage      = 500
	maxCursor    = 16 << 10        // bytes of a cursor
	watchBlock   = 5 * time.Second // one wait for news; a comment keeps the stream alive after it
	authCacheFor = 10 * time.Second

	// What one user may ask: so many requests a second, and so many at once after a while of few. Streams count once.
	ratePerSecond = 200
	rateBurst     = 400
	maxRates      = 10_000 // users remembered
	auditPatience = 2 * time.Second
	maxIdempotent = 128       // bytes of an Idempotency-Key
	replayMost    = 256 << 10 // bytes of an answer that is kept for a repeated request
	maxAuthCache  = 4096
)

type route struct {
	method, path   string
	verb, resource string // what Kubernetes RBAC is asked; resource may have a subresource. None: every known user may
	handle         func(w http.ResponseWriter, r *request) error
}

// request is a request that passed the lock.
type request struct {
	*http.Request
	namespace, name string
	user            User
}

func (a *API) routes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return slices.Concat(a.webhookRoutes(), a.hookRoutes(), a.commandRoutes(), a.compileRoutes(), a.overviewRoutes(), a.deviceRoutes(), a.letterRoutes(), a.liveRoutes(), a.specRoutes(), a.metricRoutes(), a.partRoutes(), a.sessionRoutes(), a.tokenRoutes(), a.traceRoutes(), a.trustRoutes(), a.objectRoutes(), []route{
		{"GET", "/api/v1/status", "list", "gateways", a.status},
		{"GET", eventsPath, "list", "events.wasmbed", a.events},
		{"GET", "/api/v1/boards", "", "", a.listBoards},

		{"GET", ns + "/devices", "list", "devices", a.listDevices},
		{"GET", ns + "/devices/:name", "get", "devices", a.getDevice},
		{"GET", ns + "/devices/:name/explain", "get", "devices", a.explainDevice},
		{"GET", ns + "/devices/:name/telemetry", "get", "devices/telemetry", a.telemetry},
		{"GET", ns + "/devices/:name/logs", "get", "devices/logs", a.logs},
		{"GET", ns + "/devices/:name/console", "get", "devices/console", a.console},
		{"POST", ns + "/devices", "create", "devices", a.createDevice},
		{"DELETE", ns + "/devices/:name", "delete", "devices", a.deleteDevice},
		{"POST", ns + "/devices/:name/start", "update", "devices/power", a.startBoard},
		{"POST", ns + "/devices/:name/stop", "update", "devices/power", a.stopBoard},
		{"POST", ns + "/devices/:name/reset", "update", "devices/power", a.resetBoard},
		{"POST", ns + "/devices/:name/power-cut", "update", "devices/power", a.cutPower},
		{"POST", ns + "/devices/:name/approve", "update", "devices/approval", a.approve},
		{"POST", ns + "/devices/:name/reject", "update", "devices/approval", a.reject},
		{"POST", ns + "/devices/:name/revoke", "update", "devices/approval", a.revoke},

		{"GET", ns + "/applications", "list", "applications", a.listApplications},
		{"GET", ns + "/applications/:name", "get", "applications", a.getApplication},
		{"PUT", ns + "/applications/:name", "update", "applications", a.putApplication},
		{"DELETE", ns + "/applications/:name", "delete", "applications", a.deleteApplication},
		{"GET", ns + "/applications/:name/explain", "get", "applications", a.explainApplication},
		{"GET", ns + "/applications/:name/devices", "get", "applications", a.applicationDevices},
		{"POST", ns + "/applications/:name/rollback", "create", "applications/rollback", a.rollback},
		{"POST", ns + "/applications/:name/pause", "update", "applications", a.pause},
		{"POST", ns + "/applications/:name/resume", "update", "applications", a.resume},

		{"GET", ns + "/gateways", "list", "gateways", a.listGateways},
		{"GET", ns + "/gateways/:name", "get", "gateways", a.getGateway},
		{"GET", ns + "/revisions", "list", "revisions", a.listRevisions},
		{"GET", ns + "/modules", "list", "modules", a.listModules},
		{"GET", ns + "/telemetry", "list", "devices/telemetry", a.telemetryOfAll},
		{"GET", ns + "/logs", "list", "devices/logs", a.logsOfAll},
		{"GET", ns + "/watch", "list", "devices", a.watch},
	})
}

func (a *API) guard(rt route) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) {
		req := &request{Request: r, namespace: p.ByName("namespace"), name: p.ByName("name")}
		if rt.method == http.MethodGet && rt.path == eventsPath { // a tenant may read its own
			req.namespace = r.URL.Query().Get("namespace")
		}
		if rt.verb == ownLock {
			w, done := a.traceRequest(w, r, rt, req)
			err := rt.handle(w, req)
			if err != nil {
				writeProblem(w, r, err)
			}
			done(err)
			return
		}
		user, err := a.admit(r, rt, req.namespace, req.name)
		if err == nil {
			req.user = user
			err = a.rates.allow(user, a.Now())
		}
		if err == nil && r.Method == http.MethodGet {
			var f fields
			if f, err = readFields(r); f != nil && r.Header.Get("Upgrade") == "" {
				w = &selecting{w, f}
			}
		}
		if err == nil {
			var done func(error)
			w, done = a.traceRequest(w, r, rt, req)
			req.Request = warnings(w, req.Request)
			err = a.once(w, req, rt.handle)
			done(err)
		}
		if err != nil {
			if errs.CodeOf(err) == errs.Internal {
				a.Log.Error("request failed", "path", r.URL.Path, "error", err)
			}
			writeProblem(w, r, err)
		}
	}
}

type statusAnswer struct {
	Version  string                     `json:"version"`
	Time     time.Time                  `json:"time"`
	Healthy  bool                       `json:"healthy"`
	Parts    map[string]string          `json:"parts"` // "ok" or what is wrong
	Gateways []affinity.Instance        `json:"gateways"`
	Devices  map[string]int             `json:"devices"` // known, by namespace
	Counts   map[string]json.RawMessage `json:"-"`
}

// status says whether the parts are well. It answers 200 also when they are not: the body says which.
func (a *API) status(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	ans := statusAnswer{Version: run.Version, Time: a.Now().UTC(), Healthy: true, Parts: map[string]string{}, Devices: map[string]int{}}
	note := func(part string, err error) {
		ans.Parts[part] = "ok"
		if err != nil {
			ans.Parts[part], ans.Healthy = err.Error(), false
		}
	}
	gateways, err := a.Affinity.Instances(ctx)
	if ans.Gateways = gateways; gateways == nil {
		ans.Gateways = []affinity.Instance{}
	}
	note("redis", err)
	if err == nil && len(gateways) == 0 {
		err = errs.New(errs.Unavailable, "no gateway is up")
	}
	note("gateway", err)
	for name, check := range a.Health {
		note(name, check(ctx))
	}
	if spaces, err := a.Ledger.Namespaces(ctx); err == nil {
		for _, ns := range spaces {
			if n, err := a.Ledger.DevicesKnown(ctx, ns); err == nil {
				ans.Devices[ns] = n
			}
		}
	}
	return writeJSON(w, http.StatusOK, ans)
}
