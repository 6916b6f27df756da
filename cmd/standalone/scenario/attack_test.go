package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// TestAttacksOut: on a platform where webhooks may not go to private addresses, nobody who may make a Webhook has it speak to
// this machine, in whichever way the address is written. What the schema lets pass, the dialling refuses, and says so.
// Names that answer differently each time are TestRebinding's, in functions/webhook.
func TestAttacksOut(t *testing.T) {
	p := newPlatform(t, "devices")
	p.env = append(p.env, "WASMBED_SAMPLE=false", "WASMBED_WEBHOOK_PRIVATE=false")
	p.start()
	var heard atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			heard.Add(1) // a connection is too much already
			c.Close()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "key"}, Type: v1alpha1.SecretTypeWebhook, Data: map[string][]byte{"secret": []byte(hookKey)}}
	if _, err := p.kube.Secrets.Create(p.ctx(), secret); err != nil {
		t.Fatal(err)
	}
	at := func(host string) string { return fmt.Sprintf("https://%s:%d/", host, port) }
	const (
		schema  = "refused when it is made"
		private = "PrivateForbidden"
		dialled = "AddressForbidden or no address at all"
	)
	made := map[string]string{}
	for i, c := range []struct {
		what, url    string
		allowPrivate bool
		want         string
	}{
		{"loopback", at("127.0.0.1"), false, dialled},
		{"loopback, another", at("127.9.9.9"), false, dialled},
		{"a name for it", at("localhost"), false, dialled},
		{"a name with a dot", at("localhost."), false, dialled},
		{"in capitals", at("LocalHost"), false, dialled},
		{"unspecified", at("0.0.0.0"), false, dialled},
		{"IPv6 loopback", at("[::1]"), false, dialled},
		{"IPv6 unspecified", at("[::]"), false, dialled},
		{"mapped", at("[::ffff:127.0.0.1]"), false, dialled},
		{"mapped, in hexadecimal", at("[::ffff:7f00:1]"), false, dialled},
		{"compatible", at("[::127.0.0.1]"), false, dialled},
		{"NAT64", at("[64:ff9b::7f00:1]"), false, dialled},
		{"6to4", at("[2002:7f00:1::]"), false, dialled},
		{"decimal", at("2130706433"), false, dialled},
		{"hexadecimal", at("0x7f000001"), false, dialled},
		{"octal", at("017700000001"), false, dialled},
		{"octal, dotted", at("0177.0.0.1"), false, dialled},
		{"short", at("127.1"), false, dialled},
		{"private", at("10.0.0.1"), false, dialled},
		{"CGNAT", at("100.64.0.1"), false, dialled},
		{"unique local", at("[fd00::1]"), false, dialled},
		{"metadata", "https://169.254.169.254/latest/meta-data/", false, dialled},
		{"metadata, mapped", "https://[::ffff:169.254.169.254]/", false, dialled},
		{"metadata, IPv6", "https://[fd00:ec2::254]/", false, dialled},
		{"link-local", at("[fe80::1]"), false, dialled},
		{"by saying that it may", fmt.Sprintf("http://127.0.0.1:%d/", port), true, private},
		{"by saying that it may, TLS", at("127.0.0.1"), true, private},
		{"in the clear", fmt.Sprintf("http://127.0.0.1:%d/", port), false, schema},
		{"userinfo", fmt.Sprintf("https://example.com@127.0.0.1:%d/", port), false, schema},
		{"userinfo, password", fmt.Sprintf("https://user:pass@127.0.0.1:%d/", port), false, schema},
		{"file", "file:///etc/passwd", false, schema},
		{"gopher", fmt.Sprintf("gopher://127.0.0.1:%d/_x", port), false, schema},
		{"ftp", fmt.Sprintf("ftp://127.0.0.1:%d/", port), false, schema},
		{"unix", "unix:///run/redis.sock", false, schema},
		{"no scheme", fmt.Sprintf("127.0.0.1:%d", port), false, schema},
		{"a line break", "https://example.com/\r\nX: y", false, schema},
		{"a fragment", fmt.Sprintf("https://127.0.0.1:%d#@example.com/", port), false, schema},
		{"a backslash", fmt.Sprintf(`https://127.0.0.1:%d\@example.com/`, port), false, dialled + " " + schema},
	} {
		name := fmt.Sprintf("w%d", i)
		w := &v1alpha1.Webhook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.WebhookSpec{
			URL: c.url, AllowPrivate: c.allowPrivate, Types: []string{"com.example.none"}, SecretRef: v1alpha1.SecretReference{Name: "key"}, Handshake: v1alpha1.HandshakeAsk, MaxAttempts: 1,
		}}
		_, err := p.kube.Webhooks.Create(p.ctx(), w)
		switch {
		case strings.Contains(c.want, schema) && errs.Is(err, errs.Invalid):
		case err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.want == schema:
			t.Errorf("%s: %s can be made", c.what, c.url)
		default:
			made[name] = c.what
			e, err := event.New(event.WebhookTested, "/test", ns+"/"+name, name, event.WebhookTest{Namespace: ns, Webhook: name}, event.In(ns))
			if err != nil {
				t.Fatal(err)
			}
			p.until("the broker takes it", func() error { return event.NewSink("http://"+p.at.Broker+"/", nil).Post(p.ctx(), e) })
		}
	}
	for name, what := range made {
		p.until(what+" is refused", func() error {
			w, err := p.kube.Webhooks.Get(p.ctx(), ns, name)
			if err != nil {
				return err
			}
			ready, last := condition(w.Status.Conditions, "Ready"), w.Status.LastDelivery
			switch {
			case ready.Reason == "PrivateForbidden", ready.Reason == "URLInvalid":
				return nil
			case last == nil || w.Status.Delivered != 0 || last.Reason != "AddressForbidden" && last.Reason != "NoAnswer":
				return fmt.Errorf("%+v, %+v", ready, w.Status)
			}
			return nil
		})
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("this machine heard %d connections", n)
	}
}

// TestAttacksIn: what comes to a WebhookSource is taken once when it is proven, and refused otherwise; the source's owner
// reads why, the sender does not.
func TestAttacksIn(t *testing.T) {
	p := boot(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "ci"}, Type: v1alpha1.SecretTypeWebhook, Data: map[string][]byte{"secret": []byte(hookKey)}}
	if _, err := p.kube.Secrets.Create(p.ctx(), secret); err != nil {
		t.Fatal(err)
	}
	src := &v1alpha1.WebhookSource{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "ci"}, Spec: v1alpha1.WebhookSourceSpec{
		SecretRef: v1alpha1.SecretReference{Name: "ci"}, RatePerMinute: 600, Rules: []v1alpha1.HookRule{{Type: "com.example.push"}},
	}}
	if _, err := p.kube.HookSources.Create(p.ctx(), src); err != nil {
		t.Fatal(err)
	}
	status := func() v1alpha1.WebhookSourceStatus {
		s, err := p.kube.HookSources.Get(p.ctx(), ns, "ci")
		if err != nil {
			t.Fatal(err)
		}
		return s.Status
	}
	p.until("the source is ready", func() error {
		if c := condition(status().Conditions, "Ready"); c.Status != metav1.ConditionTrue {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	signer, err := standardwebhooks.NewWebhook(hookKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := standardwebhooks.NewWebhook("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(by *standardwebhooks.Webhook, id string, at time.Time, body []byte) http.Header {
		s, err := by.Sign(id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {fmt.Sprint(at.Unix())}, "Webhook-Signature": {s}}
	}
	body := []byte(`{"ref":"main"}`)
	post := func(h http.Header, body []byte) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(p.ctx(), http.MethodPost, "http://"+p.at.API+"/hooks/"+ns+"/ci", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	now := time.Now()
	good := sign(signer, "msg_good", now, body)
	large := bytes.Repeat([]byte("x"), 1<<20+1)
	with := func(h http.Header, k, v string) http.Header {
		h = h.Clone()
		h.Set(k, v)
		return h
	}
	for _, c := range []struct {
		what string
		h    http.Header
		body []byte
		code int
		say  string
		why  string // in the source's status; "": it is not looked at
	}{
		{"good", good, body, 202, `"accepted"`, ""},
		{"replayed", good, body, 202, `"duplicate"`, ""},
		{"forged", sign(stranger, "msg_1", now, body), body, 401, "proof", "signature"},
		{"another body", good, []byte(`{"ref":"evil"}`), 401, "proof", ""},
		{"another id", with(good, "Webhook-Id", "msg_other"), body, 401, "proof", ""},
		{"a new time on it", with(good, "Webhook-Timestamp", fmt.Sprint(now.Unix()+1)), body, 401, "proof", ""},
		{"no signature", with(good, "Webhook-Signature", ""), body, 401, "proof", "needed"},
		{"old", sign(signer, "msg_2", now.Add(-10*time.Minute), body), body, 401, "proof", "timestamp"},
		{"of the future", sign(signer, "msg_3", now.Add(10*time.Minute), body), body, 401, "proof", ""},
		{"oversized", sign(signer, "msg_4", now, large), large, 413, "", ""},
		{"in a circle", with(sign(signer, "msg_5", now, body), "Webhook-Hops", "4"), body, 400, "circle", "circle"},
	} {
		was := status().Refused
		if code, text := post(c.h, c.body); code != c.code || !strings.Contains(text, c.say) {
			t.Errorf("%s: %d %s", c.what, code, text)
		}
		if c.why == "" {
			continue
		}
		p.until(c.what+" is in the status", func() error {
			s := status()
			if s.Refused <= was || s.LastRefused == nil || !strings.Contains(s.LastRefused.Message, c.why) || s.LastRefused.From == "" {
				return fmt.Errorf("%+v", s.LastRefused)
			}
			return nil
		})
	}
	p.until("what was taken is in the status", func() error {
		if s := status(); s.Accepted != 2 || s.LastReceived == nil || s.LastReceived.Status != "duplicate" || s.LastReceived.Type != "com.example.push" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})

	// Slow: a body that never ends is ended, and so is a header.
	var slow sync.WaitGroup
	for what, begin := range map[string]string{
		"body":   "POST /hooks/" + ns + "/ci HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"header": "POST /hooks/" + ns + "/ci HTTP/1.1\r\nHost: x\r\n",
	} {
		slow.Go(func() {
			if err := trickle(p.at.API, begin); err != nil {
				t.Errorf("a slow %s: %v", what, err)
			}
		})
	}
	slow.Wait()
}

// trickle says the beginning of a request, and then a byte now and then. nil: the server ended the connection.
func trickle(address, begin string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, begin); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		}
	}()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return errors.New("it holds its connection")
	}
	return nil
}
