package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of consoles.
const (
	maxConsoles     = 64               // streams followed at once; each holds a connection to the provisioner
	maxConsoleTail  = 10_000           // lines
	maxConsolePage  = 1 << 20          // bytes of an answer that does not follow
	consoleChunk    = 4 << 10          // bytes read and flushed at once
	consoleDial     = 3 * time.Second  // to the provisioner
	consoleAnswer   = 10 * time.Second // its first byte
	consoleStall    = 30 * time.Second // a reader that takes nothing for so long is dropped
	maxConsoleError = 1 << 10          // bytes of the provisioner's refusal that are told on
)

// Console reads what an emulated board wrote on its console. Errors: errs.NotFound when nothing is kept of that
// device, errs.Unavailable.
type Console interface {
	// Open returns the last lines (tail < 0: all that are kept), and with follow what comes until ctx ends or the
	// board goes.
	Open(ctx context.Context, namespace, name string, tail int, follow bool) (io.ReadCloser, error)
	// Health returns nil when consoles can be read.
	Health(ctx context.Context) error
}

// ProvisionerConsole is the Console of a provisioner process.
type ProvisionerConsole struct {
	base  *url.URL
	token string
	hc    *http.Client
}

// NewProvisionerConsole makes a Console on a provisioner's address, a URL, with the token that opens it. Errors:
// errs.Invalid.
func NewProvisionerConsole(address, token string) (*ProvisionerConsole, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errs.New(errs.Invalid, "%q is not the URL of a provisioner", address)
	}
	return &ProvisionerConsole{base: u, token: token, hc: &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: consoleDial}).DialContext, ResponseHeaderTimeout: consoleAnswer, MaxIdleConnsPerHost: 4},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Open implements Console.
func (c *ProvisionerConsole) Open(ctx context.Context, namespace, name string, tail int, follow bool) (io.ReadCloser, error) {
	q := url.Values{}
	if tail >= 0 {
		q.Set("tail", strconv.Itoa(tail))
	}
	if follow {
		q.Set("follow", "true")
	}
	resp, err := c.get(ctx, q, "console", namespace, name)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Health implements Console.
func (c *ProvisionerConsole) Health(ctx context.Context) error {
	resp, err := c.get(ctx, nil, "readyz")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (c *ProvisionerConsole) get(ctx context.Context, q url.Values, path ...string) (*http.Response, error) {
	u := c.base.JoinPath(path...)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errs.New(errs.Internal, "ask the provisioner: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "the provisioner does not answer: %w", err).WithMend("is it running? wasmbed status")
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxConsoleError)) // what could be read of it is still worth telling
	text := strings.TrimSpace(string(b))
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, errs.New(errs.NotFound, "the provisioner has nothing there: %s", text)
	case http.StatusTooManyRequests:
		return nil, errs.New(errs.Exhausted, "the provisioner is asked too much: %s", text)
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, errs.New(errs.Unavailable, "the provisioner does not take the API's token").WithMend("both get it from WASMBED_PROVISIONER_TOKEN")
	}
	return nil, errs.New(errs.Unavailable, "the provisioner says %s: %s", resp.Status, text)
}

// console answers what the device's emulated board wrote, as text; with follow=true it goes on.
func (a *API) console(w http.ResponseWriter, r *request) error {
	tail, err := consoleTail(r.URL.Query().Get("tail"))
	if err != nil {
		return err
	}
	d, err := a.Client.Devices.Get(r.Context(), r.namespace, r.name)
	if err != nil {
		return err
	}
	if err := emulated(d); err != nil {
		return err
	}
	if a.Console == nil {
		return noProvisioner()
	}
	follow := r.URL.Query().Get("follow") == "true"
	if follow {
		select {
		case a.consoles <- struct{}{}:
			defer func() { <-a.consoles }()
		default:
			return errs.New(errs.Exhausted, "%d consoles are followed already", maxConsoles)
		}
	}
	src, err := a.Console.Open(r.Context(), r.namespace, r.name, tail, follow)
	if err != nil {
		return err
	}
	defer src.Close()
	var in io.Reader = src
	if !follow {
		in = io.LimitReader(src, maxConsolePage)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff") // whatever the board writes, a browser shows it as text
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	pump(w, in)
	return nil
}

// pump copies and flushes until either side ends. There is nobody left to tell about an error.
func pump(w http.ResponseWriter, in io.Reader) {
	rc := http.NewResponseController(w)
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // the connection may carry another request
	buf := make([]byte, consoleChunk)
	send := func(b []byte) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(consoleStall))
		if _, err := w.Write(b); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if !send(nil) { // the headers: a follower of a silent board is connected
		return
	}
	for {
		n, err := in.Read(buf)
		if n > 0 && !send(buf[:n]) || err != nil {
			return
		}
	}
}

func consoleTail(s string) (int, error) {
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxConsoleTail {
		return 0, errs.New(errs.Invalid, "tail must be a number of lines from 0 to %d", maxConsoleTail)
	}
	return n, nil
}

// emulated returns nil for a device whose board the provisioner makes.
func emulated(d *v1alpha1.Device) error {
	if d.Spec.Emulation != nil {
		return nil
	}
	return errs.New(errs.Unsupported, "device %s is not emulated: the platform has neither its console nor its power", d.Name).
		WithMend("of a real board, wasmbed reboot %s restarts the firmware, and wasmbed logs %s shows what modules and firmware log", d.Name, d.Name)
}

func noProvisioner() error {
	return errs.New(errs.Unavailable, "no provisioner runs here").WithMend("start the platform with make run EMULATION=qemu")
}
