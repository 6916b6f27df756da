// Package redisurl is the one place that reads where Redis is: one URL names a server, a Redis Cluster or a master
// behind Sentinels, so that every command takes the same words.
//
//	redis://[user:password@]host[:port][/db]                one server
//	redis://[user:password@]host:port,host:port,host:port   a Redis Cluster: some of its nodes
//	redis://[user:password@]host:port?cluster=true          a Redis Cluster: one address in front of it
//	redis+sentinel://[user:password@]host:port,…[/db]?master=name
//	                                                        the master that the Sentinels name
//
// rediss and rediss+sentinel are the same over TLS, to servers and Sentinels alike. Options, besides those of go-redis
// (dial_timeout, read_timeout, pool_size, max_retries …; durations as 5s):
//
//	ca=FILE           authorities that the servers' certificates are verified with (PEM); default: the system's
//	cert=FILE key=FILE   a client certificate; both are read when a connection is opened, so they may be renewed
//	server_name=NAME  in the servers' certificates; default: the host that is dialled
//	sentinel_user=, sentinel_password=   of the Sentinels, which have users of their own
//
// Two older spellings of a cluster are read too: whole URLs separated by commas, and redis://host:port?addr=host:port.
package redisurl

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits.
const (
	maxURL       = 8 << 10 // bytes
	maxAddresses = 64
)

// Option changes what Open makes.
type Option func(*redis.UniversalOptions)

// Retries bounds how often a failed command, and a failed dial, is tried again: 0 for not at all. Where nothing is
// said, go-redis tries a dial five times, which is long for somebody who waits for an answer.
func Retries(n int) Option {
	return func(o *redis.UniversalOptions) {
		o.DialerRetries = max(n, 1) // at least the one dial
		if o.MaxRetries = n; n == 0 {
			o.MaxRetries = -1
		}
	}
}

// Open makes a client. It does not connect. Errors: errs.Invalid; none of them shows a password.
func Open(raw string, opts ...Option) (redis.UniversalClient, error) {
	o, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	for _, set := range opts {
		set(o)
	}
	return redis.NewUniversalClient(o), nil
}

// Parse reads a URL. Errors: errs.Invalid; none of them shows a password.
func Parse(raw string) (*redis.UniversalOptions, error) {
	if len(raw) > maxURL {
		return nil, errs.New(errs.Invalid, "redis: a URL of %d bytes, at most %d are read", len(raw), maxURL)
	}
	s, err := split(raw)
	if err != nil {
		return nil, err
	}
	q, err := url.ParseQuery(s.query)
	if err != nil {
		return nil, bad("the part after ? cannot be read")
	}
	take := func(name string) string { v := q.Get(name); q.Del(name); return v }
	for _, a := range q["addr"] {
		s.hosts = append(s.hosts, a)
	}
	many := q.Has("addr")
	q.Del("addr")
	if s.tls {
		for _, name := range []string{"ca", "cert", "key", "server_name"} {
			s.files[name] = take(name)
		}
	}
	master, cluster := take("master"), take("cluster")
	sentinelUser, sentinelPassword := take("sentinel_user"), take("sentinel_password")
	switch {
	case s.sentinel && master == "":
		return nil, bad("Sentinels know masters by their names").WithMend("add ?master=NAME")
	case !s.sentinel && (master != "" || sentinelUser != "" || sentinelPassword != ""):
		return nil, bad("master and sentinel_… belong to redis+sentinel://")
	}
	// What is left is go-redis' own to judge; it is given a host of ours, so that its errors say nothing of ours.
	one := url.URL{Scheme: "redis", Host: "localhost:6379", Path: s.path, RawQuery: q.Encode()}
	if s.tls {
		one.Scheme = "rediss"
	}
	base, err := redis.ParseURL(one.String())
	if err != nil {
		return nil, bad("%s", strings.TrimPrefix(err.Error(), "redis: "))
	}
	o := universal(base)
	o.Username, o.Password = s.user, s.password
	port := "6379"
	if s.sentinel {
		port = "26379"
		o.MasterName, o.SentinelUsername, o.SentinelPassword = master, sentinelUser, sentinelPassword
	}
	if o.Addrs, err = addresses(s.hosts, port); err != nil {
		return nil, err
	}
	if cluster != "" {
		if o.IsClusterMode, err = strconv.ParseBool(cluster); err != nil {
			return nil, bad("cluster is true or false")
		}
	}
	if many || !s.sentinel && len(o.Addrs) > 1 {
		o.IsClusterMode = true
	}
	if o.IsClusterMode && s.sentinel {
		return nil, bad("a Redis Cluster needs no Sentinels")
	}
	if o.IsClusterMode && o.DB != 0 {
		return nil, bad("a Redis Cluster has database 0 alone, not %d", o.DB)
	}
	if s.tls {
		if o.TLSConfig, err = tlsConfig(s.files, o.TLSConfig.InsecureSkipVerify); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Redacted is the URL without its passwords, for people.
func Redacted(raw string) string {
	s, err := split(raw)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	u := url.URL{Scheme: s.scheme, Host: strings.Join(s.hosts, ","), Path: s.path}
	if s.user != "" || s.password != "" {
		u.User = url.UserPassword(s.user, "xxxxx")
	}
	if q, err := url.ParseQuery(s.query); err == nil {
		if q.Has("sentinel_password") {
			q.Set("sentinel_password", "xxxxx")
		}
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// parts of a URL, as they stand.
type parts struct {
	scheme         string
	tls, sentinel  bool
	user, password string
	hosts          []string
	path, query    string
	files          map[string]string // TLS options
}

// split takes a URL apart by hand: net/url takes no list of hosts, and its errors repeat what they could not read.
func split(raw string) (parts, error) {
	p := parts{files: map[string]string{}}
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return p, bad("not a URL").WithMend("redis://host:6379")
	}
	switch scheme {
	case "redis", "rediss", "redis+sentinel", "rediss+sentinel":
	default:
		return p, bad("there is no scheme like the one of this URL").WithMend("redis, rediss, redis+sentinel or rediss+sentinel")
	}
	p.scheme = scheme
	p.tls, p.sentinel = strings.HasPrefix(scheme, "rediss"), strings.HasSuffix(scheme, "+sentinel")
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		return p, bad("a # stands in it").WithMend("in a password it is written %%23")
	}
	// Whole URLs separated by commas: all but the first give their address.
	if first, others, ok := strings.Cut(rest, ","+scheme+"://"); ok && !strings.ContainsAny(first, "/?") {
		rest = first
		for _, o := range strings.Split(others, ",") {
			o = strings.TrimPrefix(strings.TrimSpace(o), scheme+"://")
			if i := strings.LastIndexByte(o, '@'); i >= 0 {
				o = o[i+1:]
			}
			rest += "," + strings.TrimSuffix(o, "/")
		}
	}
	rest, p.query, _ = strings.Cut(rest, "?")
	// A password may have a slash in it, so the user goes first.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, password, _ := strings.Cut(rest[:i], ":")
		rest = rest[i+1:]
		var err error
		if p.user, err = url.PathUnescape(user); err != nil {
			return p, bad("the user's name is not percent-encoded rightly")
		}
		if p.password, err = url.PathUnescape(password); err != nil {
			return p, bad("the password is not percent-encoded rightly").WithMend("a %% in it is written %%25")
		}
	}
	hosts, path, ok := strings.Cut(rest, "/")
	if ok {
		p.path = "/" + path
	}
	for _, h := range strings.Split(hosts, ",") {
		p.hosts = append(p.hosts, strings.TrimSpace(h))
	}
	return p, nil
}

// addresses gives each host its port.
func addresses(hosts []string, port string) ([]string, error) {
	if len(hosts) > maxAddresses {
		return nil, bad("%d addresses, at most %d are read", len(hosts), maxAddresses)
	}
	var out []string
	for _, h := range hosts {
		host, p, err := net.SplitHostPort(h)
		if err != nil { // no port: a name, an IPv4 or IPv6 address
			host, p = strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"), port
		}
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, bad("%q has no port from 1 to 65535", h)
		}
		switch {
		case host == "" && len(hosts) == 1:
			host = "localhost"
		case !isHost(host):
			return nil, bad("%q is not host:port", h)
		}
		if a := net.JoinHostPort(host, p); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}

// isHost reports whether h is an address or could be a name.
func isHost(h string) bool {
	if ip, _, _ := strings.Cut(h, "%"); strings.Contains(h, ":") { // with a zone
		return net.ParseIP(ip) != nil && !strings.ContainsAny(h, "[] ")
	}
	return h != "" && strings.IndexFunc(h, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	}) < 0
}

// universal carries what go-redis read from the query.
func universal(o *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		DB: o.DB, Protocol: o.Protocol, ClientName: o.ClientName, TLSConfig: o.TLSConfig,
		MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns,
		MaxActiveConns: o.MaxActiveConns, MaxConcurrentDials: o.MaxConcurrentDials,
		PipelinePoolSize: o.PipelinePoolSize, PipelineReadBufferSize: o.PipelineReadBufferSize, PipelineWriteBufferSize: o.PipelineWriteBufferSize,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime, ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,
	}
}

// tlsConfig has no server name unless one is given: the client takes the host that it dials.
func tlsConfig(f map[string]string, insecure bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f["server_name"], InsecureSkipVerify: insecure}
	if f["ca"] != "" {
		b, err := os.ReadFile(f["ca"])
		if err != nil {
			return nil, bad("ca: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, bad("ca: no certificate is in %s", f["ca"])
		}
	}
	if (f["cert"] == "") != (f["key"] == "") {
		return nil, bad("cert and key go together")
	}
	if f["cert"] != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f["cert"], f["key"])
			if err != nil {
				return nil, bad("cert: %v", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

func bad(format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, "redis: "+format, args...)
}
