package webhook

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/meta"

	"wasmbed.io/wasmbed/api/hook"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
)

// TestPermittedLater: a receiver that must say yes, and does so through the callback, before or after its answer.
func TestPermittedLater(t *testing.T) {
	for _, early := range []bool{false, true} {
		var b *bench
		url, callback := "", ""
		permit := func() {
			b.handle(b.event(event.WebhookPermitted, event.NewID(), event.WebhookPermission{Namespace: ns, Webhook: "w", URL: event.DeriveID(url), Rate: 0}))
		}
		rc := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			if r.Method == http.MethodOptions {
				callback = r.Header.Get("WebHook-Request-Callback")
				if early {
					permit()
				}
			}
		})
		url = rc.URL
		b = start(t, rc)
		b.f.d.Callback = "https://api.example/"
		o := b.webhook("w", url, func(s *v1alpha1.WebhookSpec) {
			s.Types, s.Handshake = []string{"x.y"}, v1alpha1.HandshakeRequire
		})
		b.handle(b.event("x.y", "1", 1))
		b.settle()
		token, ok := strings.CutPrefix(callback, "https://api.example/hooks/"+ns+"/w/permit/")
		keys := hook.Keys{}
		for _, s := range []string{oldSecret, newSecret} { // the one before it is in force, too
			k, err := hook.ParseKey([]byte(s))
			if err != nil {
				t.Fatal(err)
			}
			keys.Sign = append(keys.Sign, k)
		}
		if !ok || !keys.Permits(token, ns, "w", string(o.UID), url) {
			t.Fatalf("callback %q", callback)
		}
		for _, other := range [][3]string{{"other", string(o.UID), url}, {"w", "another", url}, {"w", string(o.UID), url + "/x"}} {
			if keys.Permits(token, ns, other[0], other[1], other[2]) || keys.Permits("", ns, other[0], other[1], other[2]) {
				t.Errorf("%v is permitted, too", other)
			}
		}
		if !early {
			if n := len(rc.posts()); n != 0 {
				t.Fatalf("%d posts without a yes", n)
			}
			if c := meta.FindStatusCondition(b.get("w").Status.Conditions, "Ready"); c == nil || c.Reason != "HandshakeFailed" {
				t.Errorf("%+v", c)
			}
			// For another URL it is worth nothing.
			b.handle(b.event(event.WebhookPermitted, event.NewID(), event.WebhookPermission{Namespace: ns, Webhook: "w", URL: event.DeriveID("https://elsewhere.example/")}))
			b.settle()
			if n := len(rc.posts()); n != 0 {
				t.Fatalf("%d posts by the yes for another URL", n)
			}
			permit()
		} else {
			b.move(2 * denyRest)
		}
		b.settle()
		b.move(2 * handshakeAgain) // it is asked no more
		b.handle(b.event("x.y", "2", 1))
		b.settle()
		if n, asked := len(rc.posts()), len(rc.of(http.MethodOptions)); n != 2 || asked != 1 {
			t.Errorf("early %v: %d posts, asked %d times", early, n, asked)
		}
		b.move(time.Minute)
		b.settle()
		if !meta.IsStatusConditionTrue(b.get("w").Status.Conditions, "Ready") {
			t.Errorf("%+v", b.get("w").Status.Conditions)
		}
		b.handle(b.event(event.WebhookPermitted, "gone", event.WebhookPermission{Namespace: ns, Webhook: "nobody", URL: "x"}))
	}
}

// TestOwnAuthority: a receiver whose certificate is signed by an authority of its own, named by the webhook.
func TestOwnAuthority(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.f.d.Roots = x509.NewCertPool() // nobody, so that the webhook's own is what counts
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rc.Certificate().Raw})
	b.secret("ca", "Opaque", map[string][]byte{"ca.crt": ca})
	b.secret("junk", "Opaque", map[string][]byte{"ca.crt": []byte("junk")})
	b.secret("empty", "Opaque", map[string][]byte{"secret": []byte(newSecret)})
	for name, want := range map[string]string{"ca": "Ready", "junk": "CAInvalid", "empty": "CAInvalid", "missing": "CAMissing"} {
		b.webhook(name, rc.URL+"/"+name, func(s *v1alpha1.WebhookSpec) {
			s.Types, s.CASecretRef = []string{"x.y"}, &v1alpha1.CAReference{Name: name}
		})
		b.settle()
		if c := meta.FindStatusCondition(b.get(name).Status.Conditions, "Ready"); c == nil || c.Reason != want {
			t.Errorf("%s: %+v", name, c)
		}
	}
	b.webhook("none", rc.URL+"/none", func(s *v1alpha1.WebhookSpec) { s.Types = []string{"x.y"} })
	b.handle(b.event("x.y", "1", 1))
	b.settle()
	if n := len(rc.posts()); n != 1 {
		t.Errorf("%d posts", n)
	}
	for _, d := range b.deliveries("none") {
		if len(d.Tries) != 1 || d.Tries[0].Reason != reasonNoAnswer || !strings.Contains(d.Tries[0].Message, "certificate") {
			t.Errorf("%+v", d)
		}
	}
}

// TestSourceStatus: a webhook source says whether it can verify, what it took last, and what it refused and why.
func TestSourceStatus(t *testing.T) {
	rc := newReceiver(t, nil)
	b := start(t, rc)
	b.webhook("all", rc.URL, nil)
	b.settle()
	was := len(rc.posts())
	s := &v1alpha1.WebhookSource{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "ci"}, Spec: v1alpha1.WebhookSourceSpec{SecretRef: v1alpha1.SecretReference{Name: "ci"}, Rules: []v1alpha1.HookRule{{Type: "x.y"}}}}
	if _, err := b.set.HookSources.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	changed := func(typ string) {
		t.Helper()
		b.handle(b.event(typ, event.NewID(), event.ObjectReference{APIVersion: "wasmbed.io/v1alpha1", Kind: v1alpha1.KindWebhookSource, Namespace: ns, Name: "ci"}))
		b.settle()
	}
	status := func(reason string) v1alpha1.WebhookSourceStatus {
		t.Helper()
		o, err := b.set.HookSources.Get(t.Context(), ns, "ci")
		if err != nil {
			t.Fatal(err)
		}
		if c := meta.FindStatusCondition(o.Status.Conditions, "Ready"); c == nil || c.Reason != reason || (c.Status == "True") != (reason == "Ready") {
			t.Errorf("want %s: %+v", reason, o.Status.Conditions)
		}
		return o.Status
	}
	changed(event.RefAdd)
	status("SecretMissing")
	b.secret("ci", "Opaque", map[string][]byte{"secret": []byte(newSecret)})
	changed(event.RefUpdate)
	status("SecretInvalid")
	if err := b.set.Secrets.Delete(t.Context(), ns, "ci"); err != nil {
		t.Fatal(err)
	}
	b.secret("ci", v1alpha1.SecretTypeWebhook, map[string][]byte{"secret": []byte(newSecret)})
	h := ledger.Hook{Namespace: ns, Name: "ci"}
	for range 3 {
		if err := b.l.NoteHookSource(t.Context(), h, ledger.HookSourceNote{Took: `{"time":"2026-03-14T15:09:26Z","status":"accepted","type":"x.y","event":"1"}`}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.l.NoteHookSource(t.Context(), h, ledger.HookSourceNote{Refused: `{"time":"2026-03-14T15:09:27Z","reason":"unauthenticated","message":"no signature","from":"192.0.2.1"}`}, time.Second); err != nil {
		t.Fatal(err)
	}
	b.move(2 * time.Second)
	b.settle()
	st := status("Ready")
	if st.Accepted != 3 || st.Refused != 1 || st.LastReceived == nil || st.LastReceived.Event != "1" || st.LastRefused == nil || st.LastRefused.Message != "no signature" {
		t.Errorf("%+v", st)
	}
	changed(event.RefUpdate) // by the writing of the status: no news
	if n := len(rc.posts()) - was; n != 1 {
		t.Errorf("%d changes are told, want that it was made", n)
	}
	if err := b.set.HookSources.Delete(t.Context(), ns, "ci"); err != nil {
		t.Fatal(err)
	}
	changed(event.RefDelete)
	if n := len(rc.posts()) - was; n != 2 {
		t.Errorf("%d changes are told, want that it is gone, too", n)
	}
	if c, err := b.l.HookSource(t.Context(), h); err != nil || c.Accepted != 0 {
		t.Errorf("what is gone is remembered: %+v %v", c, err)
	}
}
