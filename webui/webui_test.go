package webui

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"

	"wasmbed.io/wasmbed/internal/errs"
)

const goodToken = "good-token"

var app = fstest.MapFS{
	".gitkeep":             {},
	"index.html":           {Data: []byte(`<!doctype html><meta name="csp-nonce" content="__CSP_NONCE__"><title>Wasmbed</title>`)},
	"assets/index-abcd.js": {Data: []byte(strings.Repeat("console.log(1);", 200))},
	"icon.svg":             {Data: []byte("<svg/>")},
}

// door is a dashboard before an API that says what it was asked.
type door struct {
	*httptest.Server
	dash *Server
	now  atomic.Int64 // seconds behind the start
}

// fakeAPI answers whoami, echoes, streams and takes WebSockets.
func fakeAPI(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/whoami", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"name":"admin","groups":[]}`)
	})
	mux.HandleFunc("/api/v1/echo", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "x"})
		_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "header": r.Header, "query": r.URL.RawQuery})
	})
	mux.HandleFunc("/api/v1/over", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/api/v1/stream", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/api/v1/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, append(b, '!')) != nil {
				return
			}
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, change func(*Deps)) *door {
	t.Helper()
	base, err := url.Parse(fakeAPI(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{}
	start := time.Now()
	deps := Deps{API: base, Files: app, Now: func() time.Time { return start.Add(time.Duration(d.now.Load()) * time.Second) }}
	if change != nil {
		change(&deps)
	}
	if d.dash, err = New(deps); err != nil {
		t.Fatal(err)
	}
	d.Server = httptest.NewServer(d.dash)
	t.Cleanup(d.Close)
	return d
}

func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (d *door) do(t *testing.T, c *http.Client, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, d.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// login returns a browser that is in, with its CSRF token.
func (d *door) login(t *testing.T) (*http.Client, string) {
	t.Helper()
	c := browser(t)
	resp, body := d.do(t, c, "POST", "/login", `{"token":"`+goodToken+`"}`, "Origin", d.URL)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("login: %d %s", resp.StatusCode, body)
	}
	var s sessionAnswer
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.User != "admin" || s.CSRF == "" {
		t.Fatalf("login says %s (%v)", body, err)
	}
	return c, s.CSRF
}

func TestNewNeedsAnAPI(t *testing.T) {
	for _, u := range []*url.URL{nil, {}, {Scheme: "ftp", Host: "x"}} {
		if _, err := New(Deps{API: u}); !errs.Is(err, errs.Invalid) {
			t.Errorf("New with API %v: %v", u, err)
		}
	}
}

func TestNothingWithoutASession(t *testing.T) {
	d := open(t, nil)
	c := browser(t)
	for _, path := range []string{"/api/v1/whoami", "/api/v1/echo", "/session"} {
		resp, body := d.do(t, c, "GET", path, "", "Authorization", "Bearer "+goodToken)
		if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `"mend"`) {
			t.Errorf("GET %s without a session: %d %s", path, resp.StatusCode, body)
		}
		if resp.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("GET %s makes the browser ask for a password", path)
		}
	}
}

func TestLoginByForm(t *testing.T) {
	d := open(t, nil)
	c := browser(t)
	for name, x := range map[string]struct {
		body, origin string
		want         int
	}{
		"wrong token":    {`{"token":"bad"}`, d.URL, 401},
		"no token":       {`{}`, d.URL, 401},
		"no JSON":        {`token=x`, d.URL, 400},
		"other origin":   {`{"token":"` + goodToken + `"}`, "http://evil.example", 403},
		"no origin":      {`{"token":"` + goodToken + `"}`, "", 403},
		"huge token":     {`{"token":"` + strings.Repeat("a", maxToken+1) + `"}`, d.URL, 401},
		"null origin":    {`{"token":"` + goodToken + `"}`, "null", 403},
		"origin by name": {`{"token":"` + goodToken + `"}`, strings.Replace(d.URL, "127.0.0.1", "localhost", 1), 403},
	} {
		h := []string{}
		if x.origin != "" {
			h = append(h, "Origin", x.origin)
		}
		if resp, body := d.do(t, c, "POST", "/login", x.body, h...); resp.StatusCode != x.want {
			t.Errorf("%s: %d %s, want %d", name, resp.StatusCode, body, x.want)
		}
	}
	c, csrf := d.login(t)
	resp, _ := d.do(t, browser(t), "POST", "/login", `{"token":"`+goodToken+`"}`, "Origin", d.URL)
	k := resp.Cookies()[0]
	if !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || strings.Contains(k.Value, goodToken) || k.MaxAge <= 0 {
		t.Errorf("the cookie: %+v", k)
	}
	resp, body := d.do(t, c, "GET", "/session", "")
	if resp.StatusCode != 200 || !strings.Contains(body, csrf) || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("session: %d %s", resp.StatusCode, body)
	}
}

func TestLoginByLink(t *testing.T) {
	var used atomic.Bool
	d := open(t, func(d *Deps) {
		d.Code = func(s string) (string, bool) { return goodToken, s == "once" && used.CompareAndSwap(false, true) }
	})
	if got := Link(d.URL+"/", "a b"); got != d.URL+"/#code=a+b" {
		t.Errorf("the link: %s", got)
	}
	for _, path := range []string{"/?code=once", "/?token=" + goodToken, "/login?code=once"} {
		if resp, _ := d.do(t, browser(t), "GET", path, ""); len(resp.Cookies()) != 0 {
			t.Errorf("GET %s logs in: whoever looks at a link first would use it up", path)
		}
	}
	for _, body := range []string{`{"code":"wrong"}`, `{"code":"` + goodToken + `"}`, `{"token":"once"}`} {
		if resp, said := d.do(t, browser(t), "POST", "/login", body, "Origin", d.URL); resp.StatusCode != http.StatusUnauthorized || len(resp.Cookies()) != 0 || !strings.Contains(said, `"mend"`) {
			t.Errorf("%s: %d %s", body, resp.StatusCode, said)
		}
	}
	if resp, _ := d.do(t, browser(t), "POST", "/login", `{"code":"once"}`, "Origin", "http://evil.example"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("from another page: %d", resp.StatusCode)
	}
	c := browser(t)
	if resp, said := d.do(t, c, "POST", "/login", `{"code":"once"}`, "Origin", d.URL); resp.StatusCode != http.StatusOK || strings.Contains(said, goodToken) {
		t.Fatalf("the code: %d %s", resp.StatusCode, said)
	}
	if resp, body := d.do(t, c, "GET", "/session", ""); resp.StatusCode != 200 {
		t.Errorf("behind the link: %d %s", resp.StatusCode, body)
	}
	if resp, _ := d.do(t, browser(t), "POST", "/login", `{"code":"once"}`, "Origin", d.URL); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same code again: %d", resp.StatusCode)
	}
	none := open(t, nil)
	if resp, _ := none.do(t, browser(t), "POST", "/login", `{"code":"once"}`, "Origin", none.URL); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a code where there are none: %d", resp.StatusCode)
	}
}

func TestLoginIsLimited(t *testing.T) {
	d := open(t, nil)
	c := browser(t)
	try := func() int {
		resp, _ := d.do(t, c, "POST", "/login", `{"token":"bad"}`, "Origin", d.URL)
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return resp.StatusCode
	}
	for range loginBurst {
		if code := try(); code != 401 {
			t.Fatalf("a try: %d", code)
		}
	}
	if code := try(); code != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", code)
	}
	if resp, _ := d.do(t, c, "POST", "/login", `{"code":"x"}`, "Origin", d.URL); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("links are not limited: %d", resp.StatusCode)
	}
	d.now.Add(int64(loginPause/time.Second) + 1)
	if code := try(); code != 401 {
		t.Errorf("after a pause: %d", code)
	}
}

func TestProxyCarriesTheTokenAndNothingElse(t *testing.T) {
	d := open(t, nil)
	c, csrf := d.login(t)
	resp, body := d.do(t, c, "GET", "/api/v1/echo?limit=5", "", "Authorization", "Bearer mine", "X-Wasmbed-CSRF", csrf, "If-Match", `"7"`)
	var got struct {
		Header http.Header
		Query  string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if got.Header.Get("Authorization") != "Bearer "+goodToken || got.Query != "limit=5" || got.Header.Get("If-Match") != `"7"` {
		t.Errorf("the API was asked with %v?%s", got.Header, got.Query)
	}
	for _, h := range []string{"Cookie", "Origin", csrfHeader} {
		if got.Header.Get(h) != "" {
			t.Errorf("the API is told %s: %s", h, got.Header.Get(h))
		}
	}
	if len(resp.Cookies()) != 0 {
		t.Errorf("the API sets cookies of ours: %v", resp.Cookies())
	}
	if n := len(resp.Header.Values("Content-Security-Policy")); n != 1 {
		t.Errorf("%d policies", n)
	}
}

func TestUnsafeRequestsNeedTheHeaderAndTheOrigin(t *testing.T) {
	d := open(t, nil)
	c, csrf := d.login(t)
	_, other := d.login(t)
	for _, x := range []struct {
		name         string
		method       string
		origin, csrf string
		want         int
	}{
		{"both", "POST", d.URL, csrf, 200},
		{"both, DELETE", "DELETE", d.URL, csrf, 200},
		{"no header", "POST", d.URL, "", 403},
		{"another session's header", "PATCH", d.URL, other, 403},
		{"no origin", "PUT", "", csrf, 403},
		{"another origin", "DELETE", "https://evil.example", csrf, 403},
		{"reads need none", "GET", "", "", 200},
	} {
		var h []string
		if x.origin != "" {
			h = append(h, "Origin", x.origin)
		}
		if x.csrf != "" {
			h = append(h, csrfHeader, x.csrf)
		}
		if resp, body := d.do(t, c, x.method, "/api/v1/echo", "{}", h...); resp.StatusCode != x.want {
			t.Errorf("%s: %d %s, want %d", x.name, resp.StatusCode, body, x.want)
		}
	}
	if resp, _ := d.do(t, c, "POST", "/logout", "", "Origin", d.URL); resp.StatusCode != 403 {
		t.Errorf("logout without the header: %d", resp.StatusCode)
	}
}

func TestAConfiguredOriginIsTheOnlyOne(t *testing.T) {
	d := open(t, func(d *Deps) { d.Origin = "https://wasmbed.example.net" })
	body := `{"token":"` + goodToken + `"}`
	if resp, _ := d.do(t, browser(t), "POST", "/login", body, "Origin", d.URL); resp.StatusCode != 403 {
		t.Errorf("by the host's name: %d", resp.StatusCode)
	}
	resp, _ := d.do(t, browser(t), "POST", "/login", body, "Origin", "https://wasmbed.example.net")
	if resp.StatusCode != 200 || !resp.Cookies()[0].Secure {
		t.Errorf("by the origin: %d, %v", resp.StatusCode, resp.Cookies())
	}
}

func TestSessionsEnd(t *testing.T) {
	d := open(t, nil)
	alive := func(c *http.Client) bool {
		resp, _ := d.do(t, c, "GET", "/session", "")
		return resp.StatusCode == 200
	}
	c, csrf := d.login(t)
	d.do(t, c, "POST", "/logout", "", "Origin", d.URL, csrfHeader, csrf)
	if alive(c) {
		t.Error("after logging out")
	}
	c, _ = d.login(t)
	d.do(t, c, "GET", "/api/v1/over", "")
	if alive(c) {
		t.Error("after the API said that the token is over")
	}
	c, _ = d.login(t)
	d.now.Add(int64(sessionIdle / time.Second))
	if alive(c) {
		t.Error("after being idle")
	}
	c, _ = d.login(t)
	for used := time.Duration(0); used < sessionLife; used += sessionIdle / 2 {
		if !alive(c) {
			t.Fatalf("a session that is used ends after %v", used)
		}
		d.now.Add(int64(sessionIdle / 2 / time.Second))
	}
	if alive(c) {
		t.Error("after its life")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	now := time.Now()
	s := newSessions(func() time.Time { now = now.Add(time.Millisecond); return now })
	first := s.open("t", "u")
	second := s.open("t", "u")
	for range maxSessions - 2 {
		s.open("t", "u")
	}
	s.get(first.id) // used last
	s.open("t", "u")
	if len(s.byID) != maxSessions || s.get(first.id) == nil || s.get(second.id) != nil || second.ctx.Err() == nil {
		t.Errorf("%d sessions; first %v, second %v", len(s.byID), s.get(first.id), s.get(second.id))
	}
}

func TestStreamsComeAtOnceAndEndWithTheSession(t *testing.T) {
	d := open(t, nil)
	c, csrf := d.login(t)
	resp, err := c.Get(d.URL + "/api/v1/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("the stream says %q, %v", line, err)
	}
	d.do(t, c, "POST", "/logout", "", "Origin", d.URL, csrfHeader, csrf)
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the stream goes on")
	}
}

func TestWebSockets(t *testing.T) {
	d := open(t, nil)
	c, _ := d.login(t)
	ctx := t.Context()
	for _, origin := range []string{"", "http://evil.example"} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		if _, resp, err := websocket.Dial(ctx, d.URL+"/api/v1/ws", &websocket.DialOptions{HTTPClient: c, HTTPHeader: h}); err == nil || resp.StatusCode != 403 {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	if _, resp, err := websocket.Dial(ctx, d.URL+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {d.URL}}}); err == nil || resp.StatusCode != 401 {
		t.Errorf("without a session: %v", err)
	}
	ws, _, err := websocket.Dial(ctx, d.URL+"/api/v1/ws", &websocket.DialOptions{HTTPClient: c, HTTPHeader: http.Header{"Origin": {d.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(ctx); err != nil || string(b) != "hi!" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestTheAPIMayBeAway(t *testing.T) {
	d := open(t, nil)
	c, _ := d.login(t)
	d.dash.API.Host = "127.0.0.1:1"
	resp, body := d.do(t, c, "GET", "/api/v1/echo", "")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"mend"`) || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := d.do(t, browser(t), "POST", "/login", `{"token":"x"}`, "Origin", d.URL); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("login: %d", resp.StatusCode)
	}
}

func TestPagesAndFiles(t *testing.T) {
	d := open(t, nil)
	c := browser(t)
	nonces := map[string]bool{}
	for _, path := range []string{"/", "/n/default/devices/d1"} {
		resp, body := d.do(t, c, "GET", path, "")
		p := resp.Header.Get("Content-Security-Policy")
		_, rest, _ := strings.Cut(p, "'nonce-")
		nonce, _, _ := strings.Cut(rest, "'")
		if resp.StatusCode != 200 || nonce == "" || !strings.Contains(body, `content="`+nonce+`"`) || nonces[nonce] {
			t.Errorf("%s: %d, policy %q, body %s", path, resp.StatusCode, p, body)
		}
		nonces[nonce] = true
		if strings.Contains(p, "unsafe") || !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "frame-ancestors 'none'") || !strings.Contains(p, "script-src 'self';") {
			t.Errorf("the policy %q", p)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
	}
	resp, body := d.do(t, c, "GET", "/assets/index-abcd.js", "", "Accept-Encoding", "gzip")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "gzip" || len(body) > 500 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("an asset: %d, %d bytes, %v", resp.StatusCode, len(body), resp.Header)
	}
	if resp, _ := d.do(t, c, "GET", "/icon.svg", "", "If-None-Match", "x"); resp.StatusCode != 200 || resp.Header.Get("ETag") == "" {
		t.Errorf("the icon: %d", resp.StatusCode)
	} else if resp, _ := d.do(t, c, "GET", "/icon.svg", "", "If-None-Match", resp.Header.Get("ETag")); resp.StatusCode != http.StatusNotModified {
		t.Errorf("the icon again: %d", resp.StatusCode)
	}
	for _, path := range []string{"/assets/gone-1234.js", "/index.html"} {
		if resp, _ := d.do(t, c, "GET", path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp, _ := d.do(t, c, "POST", "/n/default/", "", "Origin", d.URL); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST to a page: %d", resp.StatusCode)
	}
	if resp, _ := d.do(t, c, "GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz: %d", resp.StatusCode)
	}
}

func TestWithoutABuild(t *testing.T) {
	d := open(t, func(d *Deps) { d.Files = fstest.MapFS{".gitkeep": {}} })
	resp, body := d.do(t, browser(t), "GET", "/", "")
	if d.dash.Built() || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "make build") || strings.Count(body, "\n") != 1 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if c, _ := d.login(t); c == nil {
		t.Error("the API's way is open all the same")
	}
}
