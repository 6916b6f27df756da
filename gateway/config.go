package gateway

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/gateway/uplink"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/trace"
)

// Config is the gateway's settings, from the environment with the prefix WASMBED_.
type Config struct {
	Namespace   string        `envconfig:"NAMESPACE" default:"default" desc:"Namespace of the Gateway object; devices of other namespaces are strangers."`
	Gateway     string        `envconfig:"GATEWAY" default:"default" desc:"Name of the Gateway object whose settings this process follows."`
	Instance    string        `envconfig:"INSTANCE" desc:"Name of this process, unique among all gateways on one Redis. Default: <hostname>-<random>."`
	Address     string        `envconfig:"ADDRESS" desc:"host:port that devices dial, as shown to people. Default: the Gateway object's."`
	ListenTLS   string        `envconfig:"LISTEN_TLS" default:":8081" desc:"Address for devices."`
	ListenHTTP  string        `envconfig:"LISTEN_HTTP" default:":8080" desc:"Address for health, readiness, metrics and drain."`
	TLSCert     string        `envconfig:"TLS_CERT" desc:"File with the server's certificate chain, PEM; read again when it changes."`
	TLSKey      string        `envconfig:"TLS_KEY" desc:"File with its key, PEM."`
	RedisURL    string        `envconfig:"REDIS_URL" default:"redis://127.0.0.1:6379" desc:"Redis: redis://[user:password@]host:port; a Redis Cluster with several host:port separated by commas; redis+sentinel://host:port,…?master=NAME; rediss… for TLS."`
	Sink        string        `envconfig:"SINK" desc:"URL of the broker's ingress. K_SINK wins when it is set."`
	TrustDomain string        `envconfig:"TRUST_DOMAIN" default:"wasmbed.local" desc:"SPIFFE trust domain of the devices' certificates."`
	DrainTime   time.Duration `envconfig:"DRAIN_TIME" default:"5s" desc:"How long the process takes at most to end its sessions and flush when it is told to stop."`
	DrainSpread time.Duration `envconfig:"DRAIN_SPREAD" default:"5s" desc:"Devices are told to come back at a random moment within it, so that they do not arrive elsewhere as a herd."`
	DrainToken  string        `envconfig:"DRAIN_TOKEN" desc:"Bearer token that may POST /drain from anywhere. Without it only the loopback address may."`
	Tick        time.Duration `envconfig:"TICK" default:"100ms" desc:"How often deadlines of the shards that this process keeps are looked at."`
	ModuleRate  int64         `envconfig:"MODULE_RATE" default:"0" desc:"Module bytes per second that this process sends at most, all devices together; 0: no such limit."`
}

// Deps are what a Gateway uses of others. Redis is required; the rest has defaults.
type Deps struct {
	Redis redis.UniversalClient
	Sink  uplink.Sink // nil: event.NewSink(Config.Sink)
	// Certificate gives the server's certificate; nil: from Config's files.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Probe asks whether the broker is there, for readiness; nil: any HTTP answer of Config.Sink will do.
	Probe    func() error
	Registry *prometheus.Registry // nil: one of its own
	Trace    *trace.Tracer        // nil: nothing is recorded
	Log      *slog.Logger
	Now      func() time.Time
}

// complete fills in defaults and refuses what cannot work (errs.Invalid).
func (c *Config) complete(d *Deps) error {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Registry == nil {
		d.Registry = prometheus.NewRegistry()
	}
	if d.Redis == nil {
		return errs.New(errs.Invalid, "the gateway needs a Redis")
	}
	if !isName(c.Namespace) {
		return errs.New(errs.Invalid, "namespace %q", c.Namespace)
	}
	if !isName(c.Gateway) {
		return errs.New(errs.Invalid, "gateway name %q", c.Gateway)
	}
	if c.TrustDomain == "" {
		c.TrustDomain = "wasmbed.local"
	}
	if c.Instance == "" {
		host, err := os.Hostname()
		if err != nil {
			host = c.Gateway
		}
		c.Instance = host + "-" + event.NewID()[:8]
	}
	if d.Sink == nil {
		if c.Sink == "" {
			return errs.New(errs.Invalid, "no broker").WithMend("set WASMBED_SINK to the broker's ingress")
		}
		d.Sink = event.NewSink(c.Sink, nil)
	}
	if d.Certificate == nil && (c.TLSCert == "" || c.TLSKey == "") {
		return errs.New(errs.Invalid, "no server certificate").WithMend("set WASMBED_TLS_CERT and WASMBED_TLS_KEY")
	}
	if d.Probe == nil {
		d.Probe = probeHTTP(c.Sink)
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&c.DrainTime, 5*time.Second)
	set(&c.Tick, 100*time.Millisecond)
	if c.DrainSpread < 0 {
		c.DrainSpread = 0
	}
	if c.ModuleRate < 0 {
		return errs.New(errs.Invalid, "module rate %d", c.ModuleRate)
	}
	return nil
}

// probeHTTP asks a broker's ingress for anything. A broker answers a GET with 405, and that says enough.
func probeHTTP(url string) func() error {
	if url == "" {
		return func() error { return nil }
	}
	hc := &http.Client{Timeout: 2 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func() error {
		resp, err := hc.Get(url)
		if err != nil {
			return errs.New(errs.Unavailable, "broker: %w", err)
		}
		resp.Body.Close()
		if resp.StatusCode >= 500 {
			return errs.New(errs.Unavailable, "broker answers %s", resp.Status)
		}
		return nil
	}
}

// isLoopback reports whether a remote address ("host:port") is this machine.
func isLoopback(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
