package contract

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Run runs every case against the broker at ingress.
func (s *Suite) Run(t *testing.T, ingress string) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *client)
	}{
		{"only POST", s.onlyPost},
		{"what does not parse is 400", s.unparsable},
		{"binary mode in, binary mode out, nothing lost", s.binary},
		{"structured mode in, binary mode out", s.structured},
		{"every filter dialect", s.filters},
		{"retried statuses", s.retried},
		{"refusals are not retried and are dead letters", s.refused},
		{"dead letter after the last retry", s.givenUp},
		{"no connection is retried, then a dead letter", s.unreachable},
		{"a reply goes to every Trigger", s.reply},
		{"a reply goes to its origin too", s.replyToOrigin},
		{"the body of a 202 is not routed", s.acceptedBody},
		{"an empty 200 is done", s.emptyAnswer},
		{"a 200 that is no event is retried", s.chatter},
		{"a loop of replies ends", s.loop},
		{"a slow subscriber stalls nobody", s.slow},
		{"redirects are not followed", s.redirect},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why := s.Skip[c.name]; why != "" {
				t.Skip(why)
			}
			c.run(t, &client{t: t, url: ingress, run: s.run, name: strings.ReplaceAll(c.name, " ", "-")})
		})
	}
}

type client struct {
	t              *testing.T
	url, run, name string
	n              int
}

func (c *client) do(method string, header map[string]string, body string) int {
	c.t.Helper()
	r, err := http.NewRequest(method, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// post posts an event in binary mode, expects 202 and returns its id.
func (c *client) post(typ string, header map[string]string, body string) string {
	c.t.Helper()
	c.n++
	id := fmt.Sprintf("%s-%s-%d", c.run, strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(c.name)), c.n)
	h := map[string]string{"ce-specversion": "1.0", "ce-id": id, "ce-source": "/contract", "ce-type": c.run + "." + typ}
	for k, v := range header {
		h[k] = v
	}
	if status := c.do(http.MethodPost, h, body); status != http.StatusAccepted {
		c.t.Fatalf("post: %d, want 202", status)
	}
	return id
}

func (s *Suite) onlyPost(t *testing.T, c *client) {
	for _, m := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		if status := c.do(m, nil, ""); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d, want 405", m, status)
		}
	}
}

func (s *Suite) unparsable(t *testing.T, c *client) {
	for name, x := range map[string]struct {
		header map[string]string
		body   string
	}{
		"no event at all":      {map[string]string{"content-type": "application/json"}, `{}`},
		"no id":                {map[string]string{"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t"}, ``},
		"no type":              {map[string]string{"ce-specversion": "1.0", "ce-source": "/s", "ce-id": "1"}, ``},
		"no source":            {map[string]string{"ce-specversion": "1.0", "ce-type": "t", "ce-id": "1"}, ``},
		"unknown version":      {map[string]string{"ce-specversion": "99", "ce-source": "/s", "ce-type": "t", "ce-id": "1"}, ``},
		"structured, broken":   {map[string]string{"content-type": "application/cloudevents+json"}, `{"specversion":"1.0"`},
		"structured, no id":    {map[string]string{"content-type": "application/cloudevents+json"}, `{"specversion":"1.0","source":"/s","type":"t"}`},
		"structured, a list":   {map[string]string{"content-type": "application/cloudevents+json"}, `[]`},
		"hops already exhaust": {map[string]string{"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t", "ce-id": "1", "ce-knativebrokerttl": "1"}, ``},
	} {
		if status := c.do(http.MethodPost, x.header, x.body); status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", name, status)
		}
	}
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func (s *Suite) binary(t *testing.T, c *client) {
	data := "{\"a\": 1}\x00\xff"
	id := c.post("plain", map[string]string{"content-type": "application/octet-stream", "ce-subject": "plant/press-7", "ce-time": "2026-01-02T03:04:05.678Z",
		"ce-partitionkey": "plant/press-7", "ce-dataschema": "https://example.org/schema", "ce-traceparent": traceparent}, data)
	d := s.exactly(t, "/plain", id, 1)[0]
	for k, want := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Source": "/contract", "Ce-Type": s.run + ".plain", "Ce-Subject": "plant/press-7", "Ce-Time": "2026-01-02T03:04:05.678Z",
		"Ce-Partitionkey": "plant/press-7", "Ce-Dataschema": "https://example.org/schema", "Content-Type": "application/octet-stream",
		"Ce-Datacontenttype": "", "Ce-Knativebrokerttl": "", "Prefer": "reply",
	} {
		if got := d.Header.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	// A broker may start a span of its own, the trace is the same.
	if got := d.Header.Get("Ce-Traceparent"); len(got) != len(traceparent) || got[:35] != traceparent[:35] {
		t.Errorf("ce-traceparent: %q", got)
	}
	if string(d.Body) != data {
		t.Errorf("data %q", d.Body)
	}
}

func (s *Suite) structured(t *testing.T, c *client) {
	id := s.run + "-structured"
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/contract","type":"%s.plain","subject":"x","color":"red","number":5,"datacontenttype":"application/json","data":{"a":[1,2]}}`, id, s.run)
	if status := c.do(http.MethodPost, map[string]string{"content-type": "application/cloudevents+json; charset=utf-8"}, body); status != http.StatusAccepted {
		t.Fatal(status)
	}
	d := s.exactly(t, "/plain", id, 1)[0]
	if d.Header.Get("Ce-Color") != "red" || d.Header.Get("Ce-Number") != "5" || d.Header.Get("Content-Type") != "application/json" || string(d.Body) != `{"a":[1,2]}` {
		t.Errorf("%v %q", d.Header, d.Body)
	}
}

func (s *Suite) filters(t *testing.T, c *client) {
	paths := []string{"/attributes", "/present", "/exact", "/prefix", "/suffix", "/any", "/not"}
	var ids []string
	want := map[string]map[string]bool{}
	for _, x := range []struct {
		header map[string]string
		want   string
	}{
		{map[string]string{"ce-color": "red"}, "/attributes /exact /prefix /suffix /any"},
		{map[string]string{"ce-color": "blue"}, "/any /not"},
		{map[string]string{"ce-color": "Red"}, "/suffix /not"},
		{map[string]string{"ce-shape": "round"}, "/present /not"},
		{nil, "/not"},
	} {
		id := c.post("filter", x.header, "")
		ids = append(ids, id)
		want[id] = map[string]bool{}
		for _, p := range strings.Fields(x.want) {
			want[id][p] = true
			s.await(t, p, id, 1)
		}
	}
	time.Sleep(Quiet)
	for _, id := range ids {
		for _, p := range paths {
			n := 0
			if want[id][p] {
				n = 1
			}
			if got := len(s.of(p, id)); got != n {
				t.Errorf("%s got %s %d times, want %d", p, id, got, n)
			}
		}
	}
}

func (s *Suite) retried(t *testing.T, c *client) {
	s.on("/retry", func(n int, d Delivery, w http.ResponseWriter) {
		if n <= 2 {
			status, _ := strconv.Atoi(d.Header.Get("Ce-Answer"))
			w.WriteHeader(status)
		}
	})
	ids := map[string]string{}
	for _, status := range []int{404, 408, 409, 429, 500, 501, 502, 503, 504} {
		answer := strconv.Itoa(status)
		ids[answer] = c.post("retry", map[string]string{"ce-answer": answer}, "data")
	}
	for answer, id := range ids {
		ds := s.await(t, "/retry", id, 3)
		if !bytes.Equal(ds[0].Body, ds[2].Body) || ds[0].Header.Get("Ce-Answer") != ds[2].Header.Get("Ce-Answer") {
			t.Errorf("%s: the retry is another event", answer)
		}
	}
	time.Sleep(Quiet)
	for answer, id := range ids {
		if n := len(s.of("/retry", id)); n != 3 {
			t.Errorf("%s: %d deliveries, want 3", answer, n)
		}
		if n := len(s.of("/retry-sink", id)); n != 0 {
			t.Errorf("%s: a dead letter", answer)
		}
	}
}

func (s *Suite) refused(t *testing.T, c *client) {
	s.on("/refuse", func(_ int, d Delivery, w http.ResponseWriter) {
		status, _ := strconv.Atoi(d.Header.Get("Ce-Answer"))
		w.WriteHeader(status)
		io.WriteString(w, "no, thanks")
	})
	ids := map[string]string{}
	for _, status := range []int{400, 401, 403, 405, 410, 413, 415, 422} {
		answer := strconv.Itoa(status)
		ids[answer] = c.post("refuse", map[string]string{"ce-answer": answer}, "data")
	}
	for answer, id := range ids {
		d := s.await(t, "/refuse-sink", id, 1)[0]
		if got := d.Header.Get("Ce-Knativeerrorcode"); got != answer {
			t.Errorf("%s: knativeerrorcode %q", answer, got)
		}
		if string(d.Body) != "data" || d.Header.Get("Ce-Answer") != answer || d.Header.Get("Ce-Knativeerrordest") == "" {
			t.Errorf("%s: %v %q", answer, d.Header, d.Body)
		}
	}
	time.Sleep(Quiet)
	for answer, id := range ids {
		if n := len(s.of("/refuse", id)); n != 1 {
			t.Errorf("%s: %d deliveries, want 1", answer, n)
		}
		if n := len(s.of("/refuse-sink", id)); n != 1 {
			t.Errorf("%s: %d dead letters, want 1", answer, n)
		}
	}
}

func (s *Suite) givenUp(t *testing.T, c *client) {
	s.on("/give-up", func(_ int, _ Delivery, w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
	id := c.post("give-up", nil, "")
	s.exactly(t, "/give-up-sink", id, 1)
	s.exactly(t, "/give-up", id, 3) // retry: 2
}

func (s *Suite) unreachable(t *testing.T, c *client) {
	id := c.post("gone", nil, "data")
	d := s.exactly(t, "/gone-sink", id, 1)[0]
	if string(d.Body) != "data" {
		t.Errorf("%q", d.Body)
	}
}

func replyWith(w http.ResponseWriter, typ, id, body string) {
	h := w.Header()
	h.Set("ce-specversion", "1.0")
	h.Set("ce-id", id)
	h.Set("ce-source", "/contract/reply")
	h.Set("ce-type", typ)
	h.Set("content-type", "text/plain")
	io.WriteString(w, body)
}

func (s *Suite) reply(t *testing.T, c *client) {
	s.on("/ask", func(_ int, d Delivery, w http.ResponseWriter) {
		if d.Header.Get("Ce-Mode") == "structured" {
			w.Header().Set("content-type", "application/cloudevents+json")
			fmt.Fprintf(w, `{"specversion":"1.0","id":"re-%s","source":"/contract/reply","type":"%s.answer","datacontenttype":"text/plain","data":"hello"}`, d.ID(), s.run)
			return
		}
		replyWith(w, s.run+".answer", "re-"+d.ID(), "hello")
	})
	for _, mode := range []string{"binary", "structured"} {
		id := c.post("ask", map[string]string{"ce-mode": mode}, "")
		for _, p := range []string{"/answer", "/answer-too"} {
			d := s.exactly(t, p, "re-"+id, 1)[0]
			if string(d.Body) != "hello" || d.Header.Get("Ce-Source") != "/contract/reply" {
				t.Errorf("%s: %v %q", mode, d.Header, d.Body)
			}
		}
		if n := len(s.of("/ask", id)); n != 1 {
			t.Errorf("%s: asked %d times", mode, n)
		}
	}
}

func (s *Suite) replyToOrigin(t *testing.T, c *client) {
	s.on("/origin", func(_ int, d Delivery, w http.ResponseWriter) {
		if !strings.HasPrefix(d.ID(), "re-") {
			replyWith(w, s.run+".origin.reply", "re-"+d.ID(), "")
		}
	})
	id := c.post("origin", nil, "")
	s.exactly(t, "/origin", "re-"+id, 1)
}

func (s *Suite) acceptedBody(t *testing.T, c *client) {
	s.on("/accepted", func(_ int, d Delivery, w http.ResponseWriter) {
		h := w.Header()
		h.Set("ce-specversion", "1.0")
		h.Set("ce-id", "re-"+d.ID())
		h.Set("ce-source", "/contract/reply")
		h.Set("ce-type", s.run+".plain")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "hello")
	})
	id := c.post("accepted", nil, "")
	s.exactly(t, "/accepted", id, 1)
	if n := len(s.of("/plain", "re-"+id)); n != 0 {
		t.Error("routed")
	}
}

func (s *Suite) emptyAnswer(t *testing.T, c *client) {
	id := c.post("mute", nil, "")
	s.exactly(t, "/mute", id, 1)
}

func (s *Suite) chatter(t *testing.T, c *client) {
	s.on("/chatty", func(n int, _ Delivery, w http.ResponseWriter) {
		if n == 1 {
			io.WriteString(w, "thank you")
		}
	})
	id := c.post("chatty", nil, "")
	s.exactly(t, "/chatty", id, 2)
}

func (s *Suite) loop(t *testing.T, c *client) {
	s.on("/loop", func(_ int, d Delivery, w http.ResponseWriter) { replyWith(w, s.run+".loop", d.ID()+"'", "") })
	c.post("loop", nil, "")
	last, still := -1, time.Now()
	for deadline := time.Now().Add(Wait); ; time.Sleep(Quiet / 7) {
		n := len(s.of("/loop", ""))
		if n != last {
			last, still = n, time.Now()
		}
		if n > 1 && time.Since(still) > 2*Quiet {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still going round after %d deliveries", n)
		}
	}
	if last > 1024 {
		t.Errorf("%d rounds", last)
	}
}

func (s *Suite) slow(t *testing.T, c *client) {
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	s.on("/slow", func(int, Delivery, http.ResponseWriter) { <-release })
	const n = 300 // more than any broker has under way for one Trigger
	var ids []string
	for range n {
		ids = append(ids, c.post("together", nil, ""))
	}
	for _, id := range ids {
		s.await(t, "/fast", id, 1)
	}
	if got := len(s.of("/slow", "")); got >= n {
		t.Logf("all %d are under way at the slow one: its concurrency is not bounded below that", got)
	}
	once()
	for _, id := range ids {
		s.await(t, "/slow", id, 1)
	}
}

func (s *Suite) redirect(t *testing.T, c *client) {
	s.on("/moved", func(_ int, _ Delivery, w http.ResponseWriter) {
		w.Header().Set("Location", "http://"+s.host+"/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	id := c.post("moved", nil, "")
	s.await(t, "/moved-sink", id, 1)
	if n := len(s.of("/elsewhere", id)); n != 0 {
		t.Error("followed")
	}
}
