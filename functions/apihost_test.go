package functions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	authn "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/functions/journal"
	"wasmbed.io/wasmbed/internal/apply"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testkube"
)

// ingress is a broker: it takes events, and gives them to whom it is told.
type ingress struct {
	*httptest.Server
	mu   sync.Mutex
	got  []ce.Event
	give func(ce.Event)
}

func newIngress(t *testing.T) *ingress {
	b := &ingress{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		e, err := event.ReadRequest(r, 0)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, e)
		if b.give != nil {
			b.give(e)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *ingress) of(typ string) []ce.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.got), func(e ce.Event) bool { return e.Type() != typ })
}

// cluster is what the API stands on: a real Kubernetes API with our roles, a real Redis Cluster, and people of two
// tenants.
type cluster struct {
	*testing.T
	kube   *testkube.Server
	admin  kubernetes.Interface
	rdb    *redis.ClusterClient
	broker *ingress
	people map[string]string // name → token
	base   string
	hc     *http.Client
	stop   context.CancelFunc
	ended  chan error
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, kube: testkube.Start(t), rdb: testcluster.Start(t), broker: newIngress(t), people: map[string]string{}, hc: http.DefaultClient}
	a, err := apply.New(c.kube.Config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := apply.Files(os.DirFS("../config"), "rbac")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), objects...); err != nil {
		t.Fatal(err)
	}
	if c.admin, err = kubernetes.NewForConfig(c.kube.Config); err != nil {
		t.Fatal(err)
	}
	c.person("a", "alice", "wasmbed-view", "wasmbed-edit")
	c.person("b", "bob", "wasmbed-view")
	c.people["operator"] = c.kube.Config.BearerToken
	return c
}

// person makes somebody with roles in one namespace.
func (c *cluster) person(ns, name string, roles ...string) {
	c.Helper()
	ctx := c.Context()
	if _, err := c.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
	if _, err := c.admin.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
	for _, r := range roles {
		_, err := c.admin.RbacV1().RoleBindings(ns).Create(ctx, &rbac.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + r}, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: r},
			Subjects: []rbac.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: name}}}, metav1.CreateOptions{})
		if err != nil {
			c.Fatal(err)
		}
	}
	life := int64(3600)
	tr, err := c.admin.CoreV1().ServiceAccounts(ns).CreateToken(ctx, name, &authn.TokenRequest{Spec: authn.TokenRequestSpec{ExpirationSeconds: &life}}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	c.people[name] = tr.Status.Token
}

// serve starts the API as its own process would.
func (c *cluster) serve(change func(*Config)) {
	c.Helper()
	cfg := Config{Function: APIName, Listen: "127.0.0.1:0", RedisURL: testcluster.URL(c.rdb), Sink: c.broker.URL, Grace: 20 * time.Second}
	if change != nil {
		change(&cfg)
	}
	s, err := NewAPI(cfg, APIDeps{ServerDeps: ServerDeps{Kube: c.kube.As(c.T, "wasmbed-api")}, Boards: []api.Board{{Name: "Mps2An385"}}})
	if err != nil {
		c.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		c.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.base, c.stop, c.ended = "http://"+s.Addr(), stop, make(chan error, 1)
	if cfg.TLSCert != "" {
		c.base = "https://" + s.Addr()
	}
	go func() { c.ended <- s.Serve(ctx) }()
	c.Cleanup(func() {
		stop()
		if err := s.Close(); err != nil {
			c.Error(err)
		}
	})
}

func (c *cluster) do(who, method, path, contentType, body string) (int, string) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+c.people[who])
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.hc.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const structured = "application/cloudevents+json"

func outsideEvent(typ, ns, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":%q,"source":"/ci","id":"x1","namespace":%q,"datacontenttype":"application/json","data":%s}`, typ, ns, data)
}

// TestAPIHost is the REST API as it runs on a cluster, with everything real but Knative.
func TestAPIHost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	c := newCluster(t)
	c.serve(nil)
	expect := func(want int, who, method, path, contentType, body string) string {
		t.Helper()
		code, text := c.do(who, method, path, contentType, body)
		if code != want {
			t.Errorf("%s %s %s: %d, want %d: %s", who, method, path, code, want, text)
		}
		return text
	}
	for _, p := range []string{"/healthz", "/readyz"} {
		expect(200, "", "GET", p, "", "")
	}
	expect(401, "", "GET", "/api/v1/boards", "", "")
	expect(200, "bob", "GET", "/api/v1/boards", "", "")
	expect(200, "alice", "GET", "/api/v1/namespaces/a/devices", "", "")
	expect(403, "alice", "GET", "/api/v1/namespaces/b/devices", "", "")

	var status struct {
		Parts map[string]string
	}
	if err := json.Unmarshal([]byte(expect(200, "operator", "GET", "/api/v1/status", "", "")), &status); err != nil {
		t.Fatal(err)
	}
	if p := status.Parts; p["redis"] != "ok" || p["kubernetes"] != "ok" || p["broker"] != "ok" || p["gateway"] == "ok" {
		t.Errorf("parts %v", p)
	}

	t.Run("events from outside", func(t *testing.T) {
		expect(202, "alice", "POST", "/api/v1/events", structured, outsideEvent("com.example.built", "a", `{}`))
		got := c.broker.of("com.example.built")
		if len(got) != 1 || !strings.HasPrefix(got[0].Source(), "/wasmbed/events/a/") || event.Extension(got[0], "origin") != "/ci" || event.Namespace(got[0]) != "a" {
			t.Errorf("%v", got)
		}
		expect(202, "alice", "POST", "/api/v1/events", structured, outsideEvent(event.RollbackRequested, "a", `{"application":"counter"}`))
		if got := c.broker.of(event.RollbackRequested); len(got) != 1 || got[0].Subject() != "a/counter" {
			t.Errorf("%v", got)
		}
		forged := []string{event.DeviceReported, event.DeviceEnrolled, event.TimerDue, event.LedgerLost, event.GatewayChanged, event.RefUpdate, event.Ping, "dev.knative.apiserver.resource.add", "io.wasmbed.anything.v9"}
		for _, typ := range forged {
			for _, who := range []string{"alice", "operator"} {
				if code, text := c.do(who, "POST", "/api/v1/events", structured, outsideEvent(typ, "a", `{}`)); code != 403 && code != 400 {
					t.Errorf("%s says %s: %d %s", who, typ, code, text)
				}
			}
			if got := c.broker.of(typ); len(got) != 0 {
				t.Errorf("the broker got %v", got)
			}
		}
		expect(403, "alice", "POST", "/api/v1/events", structured, outsideEvent("com.example.built", "b", `{}`))
		expect(403, "bob", "POST", "/api/v1/events", structured, outsideEvent("com.example.built", "b", `{}`)) // he may only look
		expect(401, "", "POST", "/api/v1/events", structured, outsideEvent("com.example.built", "a", `{}`))
	})

	// The functions beside it, as their Services would be.
	sinks := map[string]http.Handler{}
	for _, name := range Sinks() {
		s, err := New(Config{Function: name, RedisURL: testcluster.URL(c.rdb)}, ServerDeps{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sinks[name] = s.srv.Handler
	}
	give := func(name string, e ce.Event) {
		t.Helper()
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(e.Data())))
		event.SetHeader(r.Header, event.Attributes(&e))
		w := httptest.NewRecorder()
		if sinks[name].ServeHTTP(w, r); w.Code != 202 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	said := func(id, ns string) ce.Event {
		e, err := event.New("io.wasmbed.test.happened.v1", "/test", "", id, "x", event.In(ns))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}

	t.Run("journal", func(t *testing.T) {
		give(journal.Name, said("1", "a"))
		give(journal.Name, said("2", "b"))
		give(journal.Name, said("2", "b"))
		list := func(who, query string) string {
			t.Helper()
			var page struct{ Items []ce.Event }
			if err := json.Unmarshal([]byte(expect(200, who, "GET", "/api/v1/events?"+query, "", "")), &page); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, e := range page.Items {
				ids = append(ids, e.ID())
			}
			return strings.Join(ids, " ")
		}
		for _, x := range []struct{ who, query, want string }{{"operator", "", "1 2"}, {"operator", "namespace=b", "2"}, {"alice", "namespace=a", "1"}, {"bob", "namespace=b", "2"}} {
			if got := list(x.who, x.query); got != x.want {
				t.Errorf("%s reads %q: %s, want %s", x.who, x.query, got, x.want)
			}
		}
		expect(403, "alice", "GET", "/api/v1/events", "", "")
		expect(403, "alice", "GET", "/api/v1/events?namespace=b", "", "")
	})

	t.Run("dead letters", func(t *testing.T) {
		e := said("dead", "a")
		for k, v := range map[string]string{"knativeerrordest": "http://elsewhere.example.com/", "knativeerrorcode": "503", "knativeerrordata": "bm8="} {
			e.SetExtension(k, v)
		}
		give("deadletter", e)
		if text := expect(200, "operator", "GET", "/api/v1/queues", "", ""); !strings.Contains(text, `{"trigger":"wasmbed-system/elsewhere","waiting":0,"parked":0,"dead":1,"deadOnly":true}`) || !strings.Contains(text, `"wasmbed-system/deploy"`) {
			t.Error(text)
		}
		if text := expect(200, "operator", "GET", "/api/v1/deadletters?trigger=wasmbed-system/elsewhere", "", ""); !strings.Contains(text, `"status":503,"reason":"Failed","message":"no"`) {
			t.Error(text)
		}
		expect(403, "alice", "GET", "/api/v1/deadletters?trigger=wasmbed-system/elsewhere", "", "")
		expect(403, "alice", "POST", "/api/v1/deadletters", "application/json", `{"trigger":"wasmbed-system/elsewhere"}`)
		if text := expect(200, "operator", "POST", "/api/v1/deadletters", "application/json", `{"trigger":"wasmbed-system/elsewhere"}`); !strings.Contains(text, `"redelivered":1`) {
			t.Error(text)
		}
		got := c.broker.of("io.wasmbed.test.happened.v1")
		if len(got) != 1 || event.Extension(got[0], "redelivered") != "1" || event.Extension(got[0], "knativeerrordest") != "" {
			t.Errorf("the broker got %v", got)
		}
		if text := expect(200, "operator", "GET", "/api/v1/deadletters?trigger=wasmbed-system/elsewhere", "", ""); strings.Contains(text, "dead") && strings.Contains(text, `"id"`) {
			t.Error(text)
		}
	})

	t.Run("stop", func(t *testing.T) {
		ws, _, err := websocket.Dial(t.Context(), strings.Replace(c.base, "http", "ws", 1)+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + c.people["alice"]}}})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"subscribe":[{"id":"1","topic":"events","namespace":"a"}]}`)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(b), `"cursor"`) {
			t.Fatalf("%s %v", b, err)
		}
		give(journal.Name, said("3", "b"))
		give(journal.Name, said("4", "a"))
		if _, b, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(b), `"4"`) || strings.Contains(string(b), `"3"`) {
			t.Fatalf("%s %v", b, err)
		}
		c.stop()
		if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("the WebSocket ends with %v", err)
		}
		if err := <-c.ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAPIHostTLS: with a certificate it speaks TLS 1.3; a compiler and a provisioner that are away are told of.
func TestAPIHostTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	c := newCluster(t)
	crt, key, pool := certificate(t)
	c.serve(func(cfg *Config) {
		cfg.TLSCert, cfg.TLSKey = crt, key
		cfg.CompileURL, cfg.ProvisionerURL, cfg.ProvisionerToken = "http://127.0.0.1:1", "http://127.0.0.1:1", "x"
	})
	c.hc = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	if code, _ := c.do("", "GET", "/readyz", "", ""); code != 200 {
		t.Error(code)
	}
	_, text := c.do("operator", "GET", "/api/v1/status", "", "")
	if !strings.Contains(text, "the compiler does not answer") || !strings.Contains(text, "the provisioner does not answer") {
		t.Error(text)
	}
	if code, text := c.do("alice", "GET", "/api/v1/languages", "", ""); code != 503 {
		t.Errorf("%d %s", code, text)
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}}}
	if _, err := old.Get(c.base + "/healthz"); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
}

func certificate(t *testing.T) (crtFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	crtFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	crtPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for f, b := range map[string][]byte{crtFile: crtPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})} {
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(crtPEM)
	return crtFile, keyFile, pool
}

func TestAPIHostRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no sink": {RedisURL: "redis://h"}, "half a certificate": {RedisURL: "redis://h", Sink: "http://b", TLSCert: "x"},
		"no certificate there": {RedisURL: "redis://h", Sink: "http://b", TLSCert: "/nowhere", TLSKey: "/nowhere"},
		"not Redis":            {RedisURL: "http://h", Sink: "http://b", Kubeconfig: "/nowhere"},
		"meters":               {RedisURL: "redis://h", Sink: "http://b", Meters: []string{"x"}},
	} {
		d := APIDeps{}
		if name == "meters" {
			d.Kube = &rest.Config{Host: "http://127.0.0.1:1"}
		}
		s, err := NewAPI(cfg, d)
		if err == nil {
			err = errors.Join(errors.New("made"), s.Close())
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
