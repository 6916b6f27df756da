package stream

import (
	"bytes"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"sort"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/internal/errs"
)

// Trigger is a subscription: which events go where, and how hard the broker tries. It is read from
// Knative's eventing.knative.dev/v1 Trigger; the types here are the part of it that this broker speaks.
type Trigger struct {
	Namespace  string
	Name       string
	Broker     string
	Filter     Filter
	Subscriber Destination
	Delivery   Delivery
}

func (t Trigger) String() string { return t.Namespace + "/" + t.Name }

// Destination is a URL, an object that has one, or a path relative to that object's.
type Destination struct {
	Ref *Ref   `json:"ref,omitempty"`
	URI string `json:"uri,omitempty"`
}

// Ref names an object with an address.
type Ref struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
}

// Delivery says how hard the broker tries. Retry counts the attempts after the first.
type Delivery struct {
	Retry         int
	Linear        bool          // back-off Delay·n, else Delay·2ⁿ; both capped (limits.go)
	Delay         time.Duration //
	Timeout       time.Duration // of one attempt; 0: the broker's
	RetryAfterMax time.Duration // what a subscriber may ask for
	DeadLetter    *Destination
}

// Backoff is the pause before the attempt-th retry (1, 2, …).
func (d Delivery) Backoff(attempt int) time.Duration {
	delay := d.Delay
	if d.Linear {
		delay *= time.Duration(min(attempt, 1<<20))
	} else {
		delay <<= min(max(attempt-1, 0), 20)
	}
	return max(min(delay, maxBackoff), 0)
}

// The wire form, strict.
type triggerYAML struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Broker string `json:"broker"`
		Filter *struct {
			Attributes map[string]string `json:"attributes,omitempty"`
		} `json:"filter,omitempty"`
		Filters    []filterYAML  `json:"filters,omitempty"`
		Subscriber Destination   `json:"subscriber"`
		Delivery   *deliveryYAML `json:"delivery,omitempty"`
	} `json:"spec"`
}

type deliveryYAML struct {
	Retry          *int         `json:"retry,omitempty"`
	BackoffPolicy  string       `json:"backoffPolicy,omitempty"`
	BackoffDelay   string       `json:"backoffDelay,omitempty"`
	Timeout        string       `json:"timeout,omitempty"`
	RetryAfterMax  string       `json:"retryAfterMax,omitempty"`
	DeadLetterSink *Destination `json:"deadLetterSink,omitempty"`
}

// LoadTriggers reads every *.yaml and *.yml of fsys, several documents a file if need be, sorted by name.
// A field that this broker does not know is an error, for a filter that is left out delivers too much. The
// error is errs.Invalid and names the file.
func LoadTriggers(fsys fs.FS) ([]Trigger, error) {
	var out []Trigger
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return errs.New(errs.NotFound, "triggers: %w", err)
		}
		if ext := path.Ext(p); d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return errs.New(errs.NotFound, "triggers: %w", err)
		}
		ts, err := ParseTriggers(b)
		if err != nil {
			return errs.New(errs.Invalid, "%s: %w", p, err)
		}
		out = append(out, ts...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	for i := 1; i < len(out); i++ {
		if out[i].String() == out[i-1].String() {
			return nil, errs.New(errs.Invalid, "Trigger %s is there twice", out[i])
		}
	}
	return out, nil
}

// ParseTriggers reads the Triggers of one YAML file.
func ParseTriggers(b []byte) ([]Trigger, error) {
	var out []Trigger
	for _, doc := range regexp.MustCompile(`(?m)^---.*$`).Split(string(b), -1) {
		if j, err := yaml.YAMLToJSON([]byte(doc)); err == nil && (len(j) == 0 || bytes.Equal(j, []byte("null"))) {
			continue // comments only
		}
		var w triggerYAML
		if err := yaml.UnmarshalStrict([]byte(doc), &w); err != nil {
			return nil, errs.New(errs.Invalid, "%w", err)
		}
		t, err := w.trigger()
		if err != nil {
			if w.Metadata.Name != "" {
				return nil, errs.New(errs.Invalid, "Trigger %s: %w", w.Metadata.Name, err)
			}
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

var nameRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func (w triggerYAML) trigger() (Trigger, error) {
	t := Trigger{Namespace: w.Metadata.Namespace, Name: w.Metadata.Name, Broker: w.Spec.Broker, Subscriber: w.Spec.Subscriber}
	switch {
	case w.APIVersion != "eventing.knative.dev/v1" || w.Kind != "Trigger":
		return t, errs.New(errs.Invalid, "is %s %s, not eventing.knative.dev/v1 Trigger", w.APIVersion, w.Kind)
	case !nameRE.MatchString(t.Name) || !nameRE.MatchString(t.Namespace):
		return t, errs.New(errs.Invalid, "metadata: name %q, namespace %q", t.Name, t.Namespace)
	case t.Broker == "":
		return t, errs.New(errs.Invalid, "spec.broker is missing")
	}
	// As in Knative, filters wins over filter.
	var err error
	switch {
	case len(w.Spec.Filters) > 0:
		t.Filter, err = allOf(w.Spec.Filters, 0)
	case w.Spec.Filter != nil:
		t.Filter, err = attributesFilter(w.Spec.Filter.Attributes)
	}
	if err != nil {
		return t, errs.New(errs.Invalid, "spec.filters: %w", err)
	}
	if err := t.Subscriber.check(t.Namespace); err != nil {
		return t, errs.New(errs.Invalid, "spec.subscriber: %w", err)
	}
	t.Delivery, err = w.Spec.Delivery.delivery(t.Namespace)
	if err != nil {
		return t, errs.New(errs.Invalid, "spec.delivery: %w", err)
	}
	return t, nil
}

// check validates d and puts the namespace into its ref.
func (d *Destination) check(namespace string) error {
	if d.Ref == nil && d.URI == "" {
		return errs.New(errs.Invalid, "neither ref nor uri")
	}
	if d.URI != "" {
		u, err := url.Parse(d.URI)
		if err != nil {
			return errs.New(errs.Invalid, "uri: %w", err)
		}
		if d.Ref == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return errs.New(errs.Invalid, "uri %q is not an http URL", d.URI)
		}
		if d.Ref != nil && u.IsAbs() {
			return errs.New(errs.Invalid, "an absolute uri beside a ref")
		}
	}
	if d.Ref != nil {
		if d.Ref.Kind == "" || d.Ref.Name == "" || d.Ref.APIVersion == "" {
			return errs.New(errs.Invalid, "ref needs apiVersion, kind and name")
		}
		if d.Ref.Namespace == "" {
			r := *d.Ref
			r.Namespace = namespace
			d.Ref = &r
		}
	}
	return nil
}

func (w *deliveryYAML) delivery(namespace string) (Delivery, error) {
	d := Delivery{Retry: defaultRetry, Delay: defaultDelay, RetryAfterMax: defaultRetryAfterMax}
	if w == nil {
		return d, nil
	}
	if w.Retry != nil {
		d.Retry = *w.Retry
	}
	if d.Retry < 0 || d.Retry > 1000 {
		return d, errs.New(errs.Invalid, "retry %d", d.Retry)
	}
	switch w.BackoffPolicy {
	case "", "exponential":
	case "linear":
		d.Linear = true
	default:
		return d, errs.New(errs.Invalid, "backoffPolicy %q", w.BackoffPolicy)
	}
	for _, f := range []struct {
		name, value string
		to          *time.Duration
	}{{"backoffDelay", w.BackoffDelay, &d.Delay}, {"timeout", w.Timeout, &d.Timeout}, {"retryAfterMax", w.RetryAfterMax, &d.RetryAfterMax}} {
		if f.value == "" {
			continue
		}
		v, err := parsePeriod(f.value)
		if err != nil {
			return d, errs.New(errs.Invalid, "%s: %w", f.name, err)
		}
		*f.to = v
	}
	if w.DeadLetterSink != nil {
		s := *w.DeadLetterSink
		if err := s.check(namespace); err != nil {
			return d, errs.New(errs.Invalid, "deadLetterSink: %w", err)
		}
		d.DeadLetter = &s
	}
	return d, nil
}

var periodRE = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?$`)

// parsePeriod reads an ISO 8601 duration of days, hours, minutes and seconds: PT0.2S, P1DT12H.
func parsePeriod(s string) (time.Duration, error) {
	m := periodRE.FindStringSubmatch(s)
	if m == nil || m[1]+m[2]+m[3]+m[4] == "" || strings.HasSuffix(s, "T") {
		return 0, errs.New(errs.Invalid, "%q is not an ISO 8601 duration such as PT0.2S", s)
	}
	var sum time.Duration
	for i, unit := range []string{"h", "h", "m", "s"} {
		if m[i+1] == "" {
			continue
		}
		d, err := time.ParseDuration(m[i+1] + unit)
		if i == 0 {
			d *= 24
		}
		if err != nil || d < 0 || d > 366*24*time.Hour || sum+d < 0 {
			return 0, errs.New(errs.Invalid, "%q is too long", s)
		}
		sum += d
	}
	return sum, nil
}
