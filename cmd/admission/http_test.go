package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	certresources "knative.dev/pkg/webhook/certificates/resources"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// door is a client that trusts what the Secret says, as the API server does.
func (s *suite) door(t testing.TB) *http.Client {
	t.Helper()
	secret, err := s.core.CoreV1().Secrets(s.cfg.Namespace).Get(t.Context(), s.cfg.Secret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret.Data[certresources.CACert]) {
		t.Fatal("no CA")
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (s *suite) post(c *http.Client, path, contentType string, body []byte) (int, []byte, error) {
	r, err := c.Post(fmt.Sprintf("https://%s:%d%s", host, s.cfg.Port, path), contentType, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, b, err
}

// review is an AdmissionReview of a Module that fills so many bytes.
func review(t testing.TB, size int) []byte {
	t.Helper()
	b := wasm(t, "hello")
	if pad := size - len(b) - 6; pad > 0 { // a custom section named x
		n := pad + 2
		b = append(b, 0, byte(n&0x7f|0x80), byte(n>>7&0x7f|0x80), byte(n>>14), 1, 'x')
		b = append(b, make([]byte, pad)...)
	}
	raw, err := json.Marshal(v1alpha1.Module{ObjectMeta: meta("m"), Spec: v1alpha1.ModuleSpec{Bytes: b}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{UID: "u1", Kind: metav1.GroupVersionKind{Group: v1alpha1.Group, Version: "v1alpha1", Kind: "Module"}, Operation: admissionv1.Create,
			Namespace: "default", Name: "m", Object: runtime.RawExtension{Raw: raw}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// http: what the server makes of requests that no API server sends, and that it goes on after each.
func (s *suite) http(t *testing.T) {
	c := s.door(t)
	const js = "application/json"
	good := review(t, 64<<10)
	fine := func() {
		t.Helper()
		status, b, err := s.post(c, validatePath, js, good)
		var r admissionv1.AdmissionReview
		if err != nil || status != http.StatusOK || json.Unmarshal(b, &r) != nil || r.Response == nil || !r.Response.Allowed || r.Response.UID != "u1" {
			t.Fatalf("%d %s %v", status, b, err)
		}
	}
	fine()
	for _, bad := range []struct {
		path, typ string
		body      []byte
		status    int // 0: the connection ends without an answer
	}{
		{validatePath, "text/plain", good, http.StatusUnsupportedMediaType},
		{validatePath, js, []byte("{"), http.StatusBadRequest},
		{validatePath, js, []byte("[]"), http.StatusBadRequest},
		{validatePath, js, []byte("{}"), 0},
		{defaultPath, js, []byte("{}"), 0},
		{"/", js, good, http.StatusBadRequest},
		{validatePath, js, bytes.Repeat([]byte(" "), 3<<20+1<<10), http.StatusBadRequest},
	} {
		if status, b, err := s.post(c, bad.path, bad.typ, bad.body); status != bad.status || (err != nil) != (bad.status == 0) {
			t.Errorf("%s %.20q: %d %s %v", bad.path, bad.body, status, b, err)
		}
		fine()
	}
	stranger := &http.Client{}
	if _, _, err := s.post(stranger, validatePath, js, good); err == nil {
		t.Error("a certificate of nobody was believed")
	}
	old := s.door(t)
	old.Transport.(*http.Transport).TLSClientConfig.MinVersion, old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := s.post(old, validatePath, js, good); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
	r, err := http.Get("http://" + s.cfg.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(b), "kn_webhook_handler_duration") {
		t.Errorf("%s %v", b, err)
	}
}
