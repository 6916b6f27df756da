package api

import (
	"strings"
	"testing"
)

func TestTrust(t *testing.T) {
	h := newHouse(t)
	if code, _, _ := h.do("GET", "/api/v1/namespaces/a/trust", "a-reader", ""); code != 404 {
		t.Errorf("before there is any: %d", code)
	}
	if err := h.ledger.PutTrust(t.Context(), "a", []byte("-----BEGIN CERTIFICATE-----")); err != nil {
		t.Fatal(err)
	}
	if code, _, body := h.do("GET", "/api/v1/namespaces/a/trust", "a-reader", ""); code != 200 || !strings.Contains(body, "BEGIN CERTIFICATE") {
		t.Errorf("%d %s", code, body)
	}
	if code, _, _ := h.do("GET", "/api/v1/namespaces/b/trust", "a-reader", ""); code != 403 {
		t.Errorf("another namespace's: %d", code)
	}
}
