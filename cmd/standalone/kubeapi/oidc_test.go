package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wasmbed.io/wasmbed/functions/api"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/testkube"
)

// issuer is an OpenID Connect issuer.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	b64 := base64.RawURLEncoding.EncodeToString
	mux := http.NewServeMux()
	answer := func(path string, v func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v()); err != nil {
				t.Error(err)
			}
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/a", "token_endpoint": i.URL + "/t",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}}
	})
	answer("/keys", func() any {
		return map[string]any{"keys": []any{map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}}
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestOIDC: who has a token of the issuer is a user, to Kubernetes and to the REST API, with the groups that the token
// says; a token for somebody else, or one that is over, is nobody's.
func TestOIDC(t *testing.T) {
	i := newIssuer(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testkube.StartBare(t, "--oidc-issuer", i.URL, "--oidc-client-id", "wasmbed", "--oidc-groups-claim", "groups", "--oidc-ca", ca)
	auth := api.NewKubernetesAuthority(clientset(t, s.Config), nil)
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"iss": i.URL, "aud": "wasmbed", "sub": "ann", "groups": []string{"plant"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		for k, v := range change {
			c[k] = v
		}
		return c
	}
	good := i.token(t, claims(nil))
	var u api.User
	var err error
	// The API asks the issuer for its keys when it has started.
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if u, err = auth.Authenticate(t.Context(), good); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || u.Name != i.URL+"#ann" || !slices.Contains(u.Groups, "oidc:plant") {
		t.Fatalf("%+v %v", u, err)
	}
	for name, bad := range map[string]map[string]any{"another audience": {"aud": "else"}, "over": {"exp": time.Now().Add(-time.Hour).Unix()}, "another issuer": {"iss": "https://else.example"}} {
		if _, err := auth.Authenticate(t.Context(), i.token(t, claims(bad))); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := auth.Authenticate(t.Context(), good[:len(good)-6]+"AAAAAA"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("forged: %v", err)
	}
}
