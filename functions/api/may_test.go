package api

import (
	"encoding/json"
	"testing"
)

func TestWhoamiSaysWhatOneMayDoInANamespace(t *testing.T) {
	h := newHouse(t)
	me := get[struct{ May map[string]bool }](h, "/api/v1/whoami?namespace=a")
	for _, right := range []string{"list devices", "update devices/approval", "create applications/rollback", "delete applications", "create devices/invoke"} {
		if !me.May[right] {
			t.Errorf("admin may not %s: %v", right, me.May)
		}
	}
	if bare := get[struct{ May map[string]bool }](h, "/api/v1/whoami"); len(bare.May) >= len(me.May) {
		t.Errorf("without a namespace: %v", bare.May)
	}
	code, _, body := h.do("GET", "/api/v1/whoami?namespace=a", "a-reader", "")
	if code != 200 {
		t.Fatalf("a reader: %d %s", code, body)
	}
	reader := decodeMay(t, body)
	if !reader["list devices"] || reader["update devices/approval"] || reader["delete applications"] {
		t.Errorf("a reader may %v", reader)
	}
}

func decodeMay(t *testing.T, body string) map[string]bool {
	t.Helper()
	var x struct{ May map[string]bool }
	if err := json.Unmarshal([]byte(body), &x); err != nil {
		t.Fatal(err)
	}
	return x.May
}
