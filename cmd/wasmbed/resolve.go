package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"wasmbed.io/wasmbed/internal/errs"
)

// whereHelp is the part of --help that says which server is spoken to.
const whereHelp = `Which server, and as whom, is the first of these that is there:
  1. --context, --server or --state
  2. WASMBED_SERVER, WASMBED_CONTEXT or WASMBED_DIR, in this order
  3. the context that wasmbed login or wasmbed context use selected
  4. the state folder .wasmbed of the current folder, which make run leaves
So a selected context wins over a .wasmbed that is there as well: --state .wasmbed, or wasmbed context use --none, goes back
to the platform of this machine. --token or WASMBED_TOKEN goes before the token of any of them; without one, and without
a context, the bearer token of the current kubeconfig is used. A token that was stored for one server is sent to no
other. wasmbed context show says what is used, and why.`

// place is which server is spoken to, as whom, and from where that is known.
type place struct {
	account
	from      string // of the server, for people
	tokenFrom string
}

// resolve finds server, token and namespace, as whereHelp says.
func (c *cli) resolve(ctx context.Context) (*place, error) {
	p, err := c.findServer()
	if err != nil {
		return nil, err
	}
	switch ns := os.Getenv("WASMBED_NAMESPACE"); {
	case c.given("namespace"):
		p.Namespace = c.namespace
	case ns != "":
		p.Namespace = ns
	case p.Namespace == "":
		p.Namespace = "default"
	}
	if c.caFile != "" {
		b, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, errs.New(errs.Invalid, "--ca: %w", err)
		}
		p.CA = string(b)
	}
	if err := c.findToken(ctx, p); err != nil {
		return nil, err
	}
	if err := checkToken(p.Token); err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", p.tokenFrom, err)
	}
	return p, nil
}

// given says whether a global flag was given.
func (c *cli) given(flag string) bool { return c.flags != nil && c.flags.Changed(flag) }

// findServer picks the server, and with a context also what is stored with it.
func (c *cli) findServer() (*place, error) {
	if c.given("context") && c.given("server") {
		return nil, errs.New(errs.Invalid, "--context and --server exclude each other").WithMend("a context has its server")
	}
	env := os.Getenv
	switch {
	case c.given("context"):
		return c.inContext(c.context, "--context")
	case c.given("server"):
		return &place{account: account{Server: c.server}, from: "--server"}, nil
	case c.given("state"):
		return c.inState(c.state, "--state")
	case env("WASMBED_SERVER") != "":
		return &place{account: account{Server: env("WASMBED_SERVER")}, from: "WASMBED_SERVER"}, nil
	case env("WASMBED_CONTEXT") != "":
		return c.inContext(env("WASMBED_CONTEXT"), "WASMBED_CONTEXT")
	case env("WASMBED_DIR") != "":
		return c.inState(env("WASMBED_DIR"), "WASMBED_DIR")
	}
	path, err := contextsPath()
	if err != nil {
		return c.inState(c.state, "") // no home, no contexts
	}
	s, err := loadContexts(path)
	if err != nil {
		return nil, err
	}
	if s.Current != "" {
		return c.inContext(s.Current, "selected")
	}
	return c.inState(c.state, "")
}

func (c *cli) inContext(name, how string) (*place, error) {
	path, err := contextsPath()
	if err != nil {
		return nil, err
	}
	s, err := loadContexts(path)
	if err != nil {
		return nil, err
	}
	c.warnOpen(path)
	a, err := s.get(name)
	if err != nil {
		return nil, err
	}
	return &place{account: *a, from: fmt.Sprintf("context %s (%s)", name, how)}, nil
}

// warnOpen says that others may read the tokens.
func (c *cli) warnOpen(path string) {
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(c.err, "wasmbed: others may read the tokens in %s: chmod 600 %s\n", path, path)
	}
}

func (c *cli) inState(dir, how string) (*place, error) {
	server := readLine(filepath.Join(dir, "server"))
	if server == "" {
		return nil, errs.New(errs.Invalid, "no server: %s holds none, and no context is selected", dir).
			WithMend("start one with make run, log in to one with wasmbed login --server URL, or give --server or WASMBED_SERVER")
	}
	from := "state folder " + dir
	if how != "" {
		from += " (" + how + ")"
	}
	return &place{account: account{Server: server}, from: from}, nil
}

// findToken fills in the token.
func (c *cli) findToken(ctx context.Context, p *place) error {
	stored := p.Token
	p.Token = ""
	switch env := os.Getenv("WASMBED_TOKEN"); {
	case c.given("token"):
		p.Token, p.tokenFrom = c.token, "--token"
	case env != "":
		p.Token, p.tokenFrom = env, "WASMBED_TOKEN"
	case stored != "":
		p.Token, p.tokenFrom = stored, "context "+p.Name
	case p.KubeconfigContext != "":
		t, err := kubeToken(ctx, p.KubeconfigContext)
		if err != nil {
			return err
		}
		p.Token, p.tokenFrom = t, "kubeconfig context "+p.KubeconfigContext
	case p.Name != "":
		return errs.New(errs.Unauthenticated, "context %s has no token: it was logged out", p.Name).WithMend("wasmbed login --name %s", p.Name)
	}
	if p.Token != "" {
		return nil
	}
	if dir := c.stateDir(); sameServer(p.Server, readLine(filepath.Join(dir, "server"))) {
		if p.Token = readLine(filepath.Join(dir, "token")); p.Token != "" {
			p.tokenFrom = "state folder " + dir
			return nil
		}
	}
	if t, err := kubeToken(ctx, ""); err == nil { // a kubeconfig that is not there is nobody's fault
		p.Token, p.tokenFrom = t, "kubeconfig"
		return nil
	}
	return errs.New(errs.Unauthenticated, "no token for %s", p.Server).
		WithMend("wasmbed login, or give --token or WASMBED_TOKEN; kubectl create token NAME makes one")
}

// stateDir is the state folder by flag, environment or default.
func (c *cli) stateDir() string {
	if dir := os.Getenv("WASMBED_DIR"); dir != "" && !c.given("state") {
		return dir
	}
	return c.state
}

// sameServer says whether two URLs are one server; 127.0.0.1, ::1 and localhost are one host.
func sameServer(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	if errX != nil || errY != nil || x.Host == "" || x.Scheme != y.Scheme || port(x) != port(y) {
		return false
	}
	return strings.EqualFold(x.Hostname(), y.Hostname()) || loopback(x.Hostname()) && loopback(y.Hostname())
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// kubeToken asks a context of the kubeconfig (empty: the current one) for its bearer token, whatever makes it: a
// file, a plugin, an identity provider. Errors: Unauthenticated.
func kubeToken(ctx context.Context, name string) (string, error) {
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{CurrentContext: name}).ClientConfig()
	if err != nil {
		return "", errs.New(errs.Unauthenticated, "the kubeconfig: %w", err).WithMend("kubectl config get-contexts lists them")
	}
	var seen recorder
	rt, err := rest.HTTPWrappersForConfig(cfg, &seen)
	if err != nil {
		return "", errs.New(errs.Unauthenticated, "the kubeconfig: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://nowhere.invalid/", nil)
	if err != nil {
		return "", errs.New(errs.Internal, "%w", err)
	}
	resp, err := rt.RoundTrip(req) // goes no further than the recorder
	if err != nil {
		return "", errs.New(errs.Unauthenticated, "the kubeconfig: %w", err)
	}
	resp.Body.Close()
	token, ok := strings.CutPrefix(seen.authorization, "Bearer ")
	if !ok || token == "" {
		return "", errs.New(errs.Unauthenticated, "the kubeconfig has no bearer token there, only a certificate or nothing").
			WithMend("kubectl create token NAME makes one: wasmbed login --token-stdin")
	}
	return token, nil
}

// recorder is the end of a chain of round trippers: it keeps what they put into a request.
type recorder struct{ authorization string }

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.authorization = req.Header.Get("Authorization")
	return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}
