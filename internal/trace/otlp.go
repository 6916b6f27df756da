package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"wasmbed.io/wasmbed/internal/errs"
)

// otlp sends spans to a collector: OTLP/HTTP in its JSON encoding (OTLP 1.x). It is written here because the SDK's
// exporter brings gRPC and protobuf into every image, for one POST of JSON.
type otlp struct {
	url      string
	headers  http.Header
	timeout  time.Duration
	resource []otlpAttr
	service  string
	hc       *http.Client
}

// newOTLP reads the standard environment: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT with
// /v1/traces behind it; …_HEADERS, …_TIMEOUT (ms); OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES; OTEL_SDK_DISABLED,
// OTEL_TRACES_EXPORTER=none. Nil: there is no collector. Errors: Invalid.
func newOTLP(getenv func(string) string, instance string) (*otlp, error) {
	either := func(name string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + name)
	}
	if getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	at := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); at == "" && base != "" {
		at = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	if at == "" {
		return nil, nil
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errs.New(errs.Invalid, "OTEL_EXPORTER_OTLP_ENDPOINT %q is not a URL", at).WithMend("like http://collector:4318")
	}
	o := &otlp{url: at, headers: http.Header{"Content-Type": {"application/json"}}, timeout: otlpTimeout, service: getenv("OTEL_SERVICE_NAME"),
		hc: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for name, v := range pairs(either("HEADERS")) {
		o.headers.Set(name, v)
	}
	if ms, err := strconv.Atoi(either("TIMEOUT")); err == nil && ms > 0 {
		o.timeout = min(time.Duration(ms)*time.Millisecond, otlpTimeout)
	}
	for name, v := range pairs(getenv("OTEL_RESOURCE_ATTRIBUTES")) {
		if name == "service.name" {
			if o.service == "" {
				o.service = v
			}
			continue
		}
		o.resource = append(o.resource, otlpString(name, v))
	}
	if instance != "" {
		o.resource = append(o.resource, otlpString("service.instance.id", instance))
	}
	return o, nil
}

// pairs reads "a=b,c=d", percent-encoded, as the specification of both variables says.
func pairs(s string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(part, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			continue
		}
		v = strings.TrimSpace(v)
		if plain, err := url.PathUnescape(v); err == nil {
			v = plain
		}
		out[k] = v
	}
	return out
}

func (o *otlp) name() string { return "otlp" }

type otlpValue struct {
	String *string  `json:"stringValue,omitempty"`
	Int    *string  `json:"intValue,omitempty"` // 64 bits are strings in proto3's JSON
	Bool   *bool    `json:"boolValue,omitempty"`
	Double *float64 `json:"doubleValue,omitempty"`
}

type otlpAttr struct {
	Key   string    `json:"key"`
	Value otlpValue `json:"value"`
}

func otlpString(k, v string) otlpAttr { return otlpAttr{k, otlpValue{String: &v}} }

type otlpStatus struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"` // 2: error
}

type otlpSpan struct {
	TraceID    string     `json:"traceId"`
	SpanID     string     `json:"spanId"`
	Parent     string     `json:"parentSpanId,omitempty"`
	Name       string     `json:"name"`
	Kind       int        `json:"kind"`
	Flags      int        `json:"flags"`
	Start      string     `json:"startTimeUnixNano"`
	End        string     `json:"endTimeUnixNano"`
	Attributes []otlpAttr `json:"attributes,omitempty"`
	Status     otlpStatus `json:"status"`
}

type otlpScopeSpans struct {
	Scope struct {
		Name string `json:"name"`
	} `json:"scope"`
	Spans []otlpSpan `json:"spans"`
}

type otlpResourceSpans struct {
	Resource struct {
		Attributes []otlpAttr `json:"attributes"`
	} `json:"resource"`
	ScopeSpans []*otlpScopeSpans `json:"scopeSpans"`
}

type otlpRequest struct {
	ResourceSpans []*otlpResourceSpans `json:"resourceSpans"`
}

// write posts a batch once. A collector that is away loses it: its traces are a help, and ours are in Redis.
func (o *otlp) write(ctx context.Context, batch []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	body, err := json.Marshal(o.request(batch))
	if err != nil {
		return errs.New(errs.Internal, "otlp: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return errs.New(errs.Invalid, "otlp: %w", err)
	}
	req.Header = o.headers.Clone()
	resp, err := o.hc.Do(req)
	if err != nil {
		return errs.New(errs.Unavailable, "otlp: %w", err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // read so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return errs.New(errs.FromHTTP(resp.StatusCode), "otlp: the collector answers %s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return nil
}

// request groups spans by component: each is a service.
func (o *otlp) request(batch []sdk.ReadOnlySpan) otlpRequest {
	var out otlpRequest
	scopes := map[string]*otlpScopeSpans{}
	for _, s := range batch {
		component := ""
		c, st := s.SpanContext(), s.Status()
		x := otlpSpan{
			TraceID: c.TraceID().String(), SpanID: c.SpanID().String(), Name: s.Name(), Kind: int(s.SpanKind()), Flags: int(c.TraceFlags()),
			Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10),
		}
		if p := s.Parent().SpanID(); p.IsValid() {
			x.Parent = p.String()
		}
		if st.Code == codes.Error {
			x.Status = otlpStatus{st.Description, 2}
		}
		for _, a := range s.Attributes() {
			if a.Key == keyComponent {
				component = a.Value.AsString()
				continue
			}
			x.Attributes = append(x.Attributes, otlpAttr{string(a.Key), otlpOf(a.Value)})
		}
		sc := scopes[component]
		if sc == nil {
			r := &otlpResourceSpans{}
			name := "wasmbed-" + component
			if o.service != "" {
				name = o.service
			}
			r.Resource.Attributes = append([]otlpAttr{otlpString("service.name", name), otlpString(string(keyComponent), component)}, o.resource...)
			sc = &otlpScopeSpans{}
			sc.Scope.Name = "wasmbed.io/wasmbed"
			r.ScopeSpans = []*otlpScopeSpans{sc}
			scopes[component] = sc
			out.ResourceSpans = append(out.ResourceSpans, r)
		}
		sc.Spans = append(sc.Spans, x)
	}
	return out
}

func otlpOf(v attribute.Value) otlpValue {
	switch v.Type() {
	case attribute.BOOL:
		b := v.AsBool()
		return otlpValue{Bool: &b}
	case attribute.INT64:
		n := strconv.FormatInt(v.AsInt64(), 10)
		return otlpValue{Int: &n}
	case attribute.FLOAT64:
		f := v.AsFloat64()
		return otlpValue{Double: &f}
	}
	s := v.Emit()
	return otlpValue{String: &s}
}
