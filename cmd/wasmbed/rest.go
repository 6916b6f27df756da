package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// restClient speaks to the REST API.
type restClient struct {
	base  *url.URL
	token string
	hc    *http.Client
	login string // how to get another token

	verbose io.Writer // nil: traces are not said
}

// maxAnswer bounds what is read of one answer or one streamed event, bytes.
const maxAnswer = 64 << 20

func newREST(server, token string) (*restClient, error) {
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	return &restClient{base: u, token: token, hc: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// parseServer checks the URL of a server. Errors: Invalid.
func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errs.New(errs.Invalid, "%q is not the URL of a server", server).WithMend("like http://127.0.0.1:3001")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, errs.New(errs.Invalid, "a token is not sent in the clear to %s", u.Hostname()).WithMend("use https")
	}
	return u, nil
}

// trust takes these PEM certificates for the server's, instead of the system's; empty changes nothing.
func (c *restClient) trust(ca string) error {
	if ca == "" {
		return nil
	}
	pool, err := certificates([]byte(ca))
	if err != nil {
		return errs.New(errs.Invalid, "the server's CA: %w", err).WithMend("--ca FILE has PEM certificates")
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	c.hc.Transport = t
	return nil
}

func (c *restClient) send(ctx context.Context, method, path string, q url.Values, body any, accept string) (*http.Response, error) {
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, errs.New(errs.Internal, "encode the request: %w", err)
		}
		rd = bytes.NewReader(b)
	}
	u := c.base.JoinPath("/api/v1", path)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), rd)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if t, ok := body.(interface{ contentType() string }); ok {
			req.Header.Set("Content-Type", t.contentType())
		}
		if v, ok := body.(ifVersion); ok && v.version != "" {
			req.Header.Set("If-Match", `"`+v.version+`"`)
		}
	}
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, c.away(err)
	}
	sayTrace(c.verbose, resp.Header)
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, c.problem(resp)
	}
	return resp, nil
}

// ifVersion is a body that is to replace the object of one version, and no other: somebody's change in between is not
// undone.
type ifVersion struct {
	body    any
	version string // empty: there was none
}

// MarshalJSON is that of the body.
func (v ifVersion) MarshalJSON() ([]byte, error) { return json.Marshal(v.body) }

// away says why a server was not reached.
func (c *restClient) away(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Deadline, "%s did not answer in time", c.base.Host)
	case errors.As(err, &unknown):
		return errs.New(errs.Unavailable, "%s: %w", c.base.Host, err).WithMend("--ca FILE names the certificates that its own is signed by")
	case errors.As(err, &host):
		return errs.New(errs.Unavailable, "%s: %w", c.base.Host, err).WithMend("use the name that its certificate has")
	}
	return errs.New(errs.Unavailable, "%s does not answer: %w", c.base.Host, err).WithMend("is the platform running? make run")
}

// problem is the error of an answer that is none.
func (c *restClient) problem(resp *http.Response) error {
	err := problem(resp)
	var e *errs.Error
	if c.login != "" && errors.As(err, &e) && e.Code == errs.Unauthenticated {
		return e.WithMend("%s", c.login)
	}
	return err
}

func problem(resp *http.Response) error {
	var p struct{ Detail, Code, Mend string }
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what could be read of it is still worth showing
	if json.Unmarshal(b, &p) != nil || p.Detail == "" {
		return errs.New(errs.FromHTTP(resp.StatusCode), "the server says %s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	code := errs.Code(p.Code)
	if code == "" {
		code = errs.FromHTTP(resp.StatusCode)
	}
	return &errs.Error{Code: code, Message: p.Detail, Mend: p.Mend}
}

// do sends and decodes the answer into into, when that is not nil.
func (c *restClient) do(ctx context.Context, method, path string, q url.Values, body, into any) error {
	resp, err := c.send(ctx, method, path, q, body, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return errs.New(errs.Internal, "the server's answer cannot be read: %w", err)
	}
	return nil
}

// all reads every page of a list.
func all[T any](ctx context.Context, c *restClient, path string) ([]T, error) {
	return allOf[T](ctx, c, path, nil)
}

// allOf reads every page of a list that is narrowed by where.
func allOf[T any](ctx context.Context, c *restClient, path string, where url.Values) ([]T, error) {
	out := []T{}
	q := url.Values{"limit": {"500"}}
	maps.Copy(q, where)
	for {
		var p struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := c.do(ctx, http.MethodGet, path, q, nil, &p); err != nil {
			return nil, err
		}
		out = append(out, p.Items...)
		if p.Next == "" || p.Next == q.Get("after") { // a page of a filtered list may be empty, and not the last
			return out, nil
		}
		q.Set("after", p.Next)
	}
}

// follow reads a stream of server-sent events for as long as ctx lives, resuming behind the last event
// after a break. fn gets each event's kind and data.
func (c *restClient) follow(ctx context.Context, path string, q url.Values, fn func(kind string, data []byte) error) error {
	if q == nil {
		q = url.Values{}
	}
	q.Set("follow", "true")
	wait, connected := 200*time.Millisecond, false
	for {
		err := c.followOnce(ctx, path, q, func(id, kind string, data []byte) error {
			connected, wait = true, 200*time.Millisecond
			if id != "" {
				q.Set("after", id)
			}
			return fn(kind, data)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!connected || !errs.Is(err, errs.Unavailable)):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func (c *restClient) followOnce(ctx context.Context, path string, q url.Values, fn func(id, kind string, data []byte) error) error {
	resp, err := c.send(ctx, http.MethodGet, path, q, nil, "text/event-stream")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var id, kind string
	var data []byte
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	for sc.Scan() {
		line := sc.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if len(data) > 0 {
				if kind == "error" {
					return errs.New(errs.Unavailable, "the stream ended: %s", data)
				}
				if err := fn(id, kind, data); err != nil {
					return err
				}
			}
			id, kind, data = "", "", nil
		case field == "id":
			id = value
		case field == "event":
			kind = value
		case field == "data":
			data = append(data, value...)
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return errs.New(errs.Unavailable, "the stream broke: %w", err)
	}
	return errs.New(errs.Unavailable, "the server closed the stream")
}
