package observability

import (
	"context"
	"crypto/tls"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"sigs.k8s.io/yaml"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"wasmbed.io/wasmbed/api/client"
	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/functions"
	"wasmbed.io/wasmbed/gateway"
	"wasmbed.io/wasmbed/internal/trace"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/console"
	"wasmbed.io/wasmbed/provisioner/reconcile"
)

const root = "../.."

// targets are the labels that whoever scrapes adds.
var targets = []string{"job", "instance", "namespace", "pod", "container", "endpoint"}

// registrants are the packages that register metrics, each with how. A new one must be added here.
var registrants = map[string]func(*testing.T, *prometheus.Registry){
	"gateway": func(t *testing.T, r *prometheus.Registry) {
		_, err := gateway.New(gateway.Config{Namespace: "n", Gateway: "g", Instance: "i", Sink: "http://127.0.0.1:1"}, gateway.Deps{
			Redis: unconnected(t), Registry: r,
			Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	},
	"broker/stream": func(t *testing.T, r *prometheus.Registry) {
		if _, err := stream.New(unconnected(t), nil, stream.Options{Registry: r}); err != nil {
			t.Fatal(err)
		}
	},
	"functions": func(_ *testing.T, r *prometheus.Registry) { functions.NewMetrics(r) },
	"internal/trace": func(t *testing.T, r *prometheus.Registry) {
		tr, err := trace.New(trace.Options{Component: "test", Redis: unconnected(t), Registry: r, Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = tr.Close(ended) // nothing waits to be written
	},
	"provisioner/reconcile": func(t *testing.T, r *prometheus.Registry) {
		_, err := reconcile.New(reconcile.Options{
			Devices: client.NewMemory().Devices, Engines: map[string]provisioner.Engine{"process": nil}, Default: "process",
			Plan:  func(string) (provisioner.PlanOptions, error) { return provisioner.PlanOptions{}, nil },
			Image: func(string) (string, error) { return "", nil }, Sink: sink{}, Consoles: console.New(0, "token"),
			Jitter: func() float64 { return 0 }, Random: func([]byte) {}, Registry: r,
		})
		if err != nil {
			t.Fatal(err)
		}
	},
}

type sink struct{}

func (sink) Post(context.Context, ce.Event) error { return nil }

// unconnected is a client that has not connected and is not asked to.
func unconnected(t *testing.T) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var (
	described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: .*, constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)
	// Whether it is a histogram is not in a description; ours measure seconds and operations.
	histogram = regexp.MustCompile(`([^p]_seconds|_operations)$`)
	labelName = regexp.MustCompile(`^(?:c\()?([a-zA-Z_]+)`)
)

// ours returns the labels of every metric that our processes register.
func ours(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{"up": nil}
	registries := []*prometheus.Registry{}
	for _, register := range registrants {
		r := prometheus.NewRegistry()
		register(t, r)
		registries = append(registries, r)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, r := range append(registries, r) {
		ch := make(chan *prometheus.Desc)
		go func() { r.Describe(ch); close(ch) }()
		for d := range ch {
			m := described.FindStringSubmatch(strings.ReplaceAll(d.String(), "\n", " "))
			if m == nil {
				t.Fatalf("a description that cannot be read: %s", d)
			}
			var labels []string
			for l := range strings.SplitSeq(m[2], ",") {
				if n := labelName.FindStringSubmatch(strings.TrimSpace(l)); n != nil {
					labels = append(labels, n[1])
				}
			}
			out[m[1]] = labels
			if !histogram.MatchString(m[1]) {
				continue
			}
			for suffix, more := range map[string][]string{"_bucket": {"le"}, "_sum": nil, "_count": nil} {
				out[m[1]+suffix] = append(slices.Clone(labels), more...)
			}
		}
	}
	return out
}

// foreign returns the metrics of external.yaml.
func foreign(t *testing.T) map[string][]string {
	t.Helper()
	var file []struct {
		From    string
		Metrics map[string][]string
	}
	read(t, "external.yaml", &file)
	out := map[string][]string{}
	for _, f := range file {
		if f.From == "" {
			t.Error("external.yaml: metrics without their origin")
		}
		for name, labels := range f.Metrics {
			out[name] = labels
		}
	}
	return out
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestMetricsAreKnown(t *testing.T) {
	m := ours(t)
	for _, no := range []string{"wasmbed_gateway_devices_sum", "wasmbed_gateway_trust_end_timestamp_seconds_sum", "wasmbed_gateway_device"} {
		if _, ok := m[no]; ok {
			t.Errorf("%s is no metric", no)
		}
	}
	for name, labels := range map[string]string{
		"wasmbed_gateway_posts_total": "kind result", "wasmbed_gateway_post_seconds_bucket": "kind le", "wasmbed_broker_waiting_events": "trigger",
		"wasmbed_function_events_total": "function outcome", "wasmbed_boards": "phase", "wasmbed_board_memory_bytes": "namespace device",
		"wasmbed_gateway_errors_total":  "code",
		"process_resident_memory_bytes": "",
	} {
		got, ok := m[name]
		if !ok || strings.Join(got, " ") != labels {
			t.Errorf("%s has the labels %q (%v), want %q: the descriptions are read wrongly", name, got, ok, labels)
		}
	}
}

// TestRegistrants finds packages that make metrics and are not asked for them here.
func TestRegistrants(t *testing.T) {
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() && (n == "node_modules" || n == "testdata" || n == "build" || n == "bin" || strings.HasPrefix(n, ".") && len(n) > 2) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		uses := false
		for _, i := range f.Imports {
			s, err := strconv.Unquote(i.Path.Value)
			uses = uses || err == nil && (s == "github.com/prometheus/client_golang/prometheus" || s == "github.com/prometheus/client_golang/prometheus/promauto")
		}
		if !uses {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		makes := regexp.MustCompile(`(prometheus|promauto)\.New(Counter|Gauge|Histogram|Summary|Untyped|Desc)`).Match(b)
		if _, known := registrants[filepath.ToSlash(dir)]; makes && !known {
			t.Errorf("%s makes metrics: add %s to registrants", p, dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
