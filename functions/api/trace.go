package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

func (a *API) traceRoutes() []route {
	const ns = "/api/v1/namespaces/:namespace"
	return []route{
		{"GET", "/api/v1/events/:name/trace", "", "", a.eventTrace}, // which hops are shown depends on whose they are
		{"GET", ns + "/applications/:name/trace", "get", "applications", a.applicationTrace},
	}
}

// eventPaths has ids of events that have a slash in them (escaped, as %2F) be one part of the path, which the router,
// that looks at the unescaped path, would not see.
func eventPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.URL.RawPath, "/api/v1/events/")
		if id, isTrace := strings.CutSuffix(raw, "/trace"); ok && isTrace && !strings.Contains(id, "/") {
			clone := *r
			u := *r.URL
			u.Path, u.RawPath = r.URL.RawPath, ""
			clone.URL = &u
			r = &clone
		}
		next.ServeHTTP(w, r)
	})
}

// eventTrace answers with the trace that an event's id, a trace id or a traceparent names.
func (a *API) eventTrace(w http.ResponseWriter, r *request) error {
	what := r.name
	if id, err := url.PathUnescape(what); err == nil && strings.Contains(what, "%2F") { // see eventPaths
		what = id
	}
	id, err := a.Trace.Find(r.Context(), what)
	if err != nil {
		return err
	}
	return a.showTrace(w, r, id, a.maySee(r))
}

// applicationTrace answers with the trace in which the application's target was last set.
func (a *API) applicationTrace(w http.ResponseWriter, r *request) error {
	id, err := a.Trace.Find(r.Context(), r.namespace+"/"+r.name)
	if err != nil {
		return err
	}
	see := a.maySee(r)
	return a.showTrace(w, r, id, func(ns string) bool { return ns == r.namespace || see(ns) })
}

func (a *API) showTrace(w http.ResponseWriter, r *request, id string, may func(string) bool) error {
	t, err := a.Trace.Read(r.Context(), id, may)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

// maySee says whether the caller may see hops of a namespace: who may list its devices may. Hops of none are the
// platform's own, for who may see the events of all.
func (a *API) maySee(r *request) func(namespace string) bool {
	known := map[string]bool{}
	return func(ns string) bool {
		may, asked := known[ns]
		if !asked {
			if ns == "" {
				may = a.mayIn(r, "", "list", "events.wasmbed", "") == nil
			} else {
				may = a.mayIn(r, ns, "list", "devices", "") == nil
			}
			known[ns] = may
		}
		return may
	}
}

// traceRequest begins the trace of a request that changes something, and answers its Traceparent. One that came with a
// traceparent goes on in that trace, whatever its flags say: who may change something here may have it traced. done ends
// it.
func (a *API) traceRequest(w http.ResponseWriter, r *http.Request, rt route, req *request) (out http.ResponseWriter, done func(error)) {
	if a.Trace == nil || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return w, func(error) {}
	}
	work := trace.Work{
		Name: r.Method + " " + rt.path, Kind: trace.Server, Derived: []string{event.NewID()},
		Attrs: []trace.Attr{
			trace.String("http.request.method", r.Method), trace.String("http.route", rt.path), trace.String("url.path", r.URL.Path),
			trace.String("user_agent.original", r.UserAgent()),
		},
	}
	work.Parent = trace.Sampled(r.Header.Get("Traceparent"))
	if req.namespace != "" {
		work.Attrs = append(work.Attrs, trace.Namespace(req.namespace), trace.Subject(strings.TrimSuffix(req.namespace+"/"+req.name, "/")))
	}
	ctx, hop := a.Trace.Begin(r.Context(), work)
	if hop == nil {
		return w, func(error) {}
	}
	req.Request = r.WithContext(ctx)
	w.Header().Set("Traceparent", hop.Traceparent())
	st := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	return st, func(err error) {
		status := st.status
		if err != nil {
			status = errs.HTTPStatus(err)
		}
		if status < http.StatusInternalServerError {
			err = nil // what the caller did wrong is no failure of this hop
		} else if err == nil {
			err = errs.New(errs.FromHTTP(status), "%s", http.StatusText(status))
		}
		attrs := []trace.Attr{trace.String("http.response.status_code", strconv.Itoa(status))}
		if req.user.Name != "" {
			attrs = append(attrs, trace.String("enduser.id", req.user.Name))
		}
		hop.End(true, err, attrs...)
	}
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
