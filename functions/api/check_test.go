package api

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// TestWhatIsWrittenIsChecked: this door judges as the admission webhooks do, warnings included.
func TestWhatIsWrittenIsChecked(t *testing.T) {
	h := newHouse(t)
	b, err := os.ReadFile("../../firmware/modules/hello.wasm")
	if err != nil {
		t.Fatal(err)
	}
	wasm := base64.StdEncoding.EncodeToString(b)
	const app = "/api/v1/namespaces/a/applications/x"
	code, header, text := h.do("PUT", app, "admin", `{"spec":{"module":{"inline":"`+wasm+`"},"manifest":{"permissions":[]},"targets":{"names":["d"]}}}`)
	if code != 400 || !strings.Contains(text, "spec.manifest.permissions: PermissionDenied") || !strings.Contains(text, `"mend":"permit what it needs`) {
		t.Errorf("%d %s", code, text)
	}
	code, header, text = h.do("PUT", app, "admin", `{"spec":{"module":{"name":"later"},"targets":{"names":["d"]}}}`)
	if w := strings.Join(header.Values("Warning"), "\n"); code != 201 || !strings.Contains(w, `299 - "spec.module.name: ModuleNotFound`) {
		t.Errorf("%d %s %q", code, text, w)
	}
	if code, header, text = h.do("POST", app+"/pause", "admin", ""); code != 200 || len(header.Values("Warning")) > 0 {
		t.Errorf("%d %s %q", code, text, header.Values("Warning"))
	}
	code, _, text = h.do("PUT", "/api/v1/namespaces/a/gateways/g", "admin", `{"spec":{"address":"0.0.0.0:8081"}}`)
	if code != 400 || !strings.Contains(text, "spec.address") {
		t.Errorf("%d %s", code, text)
	}
	code, _, text = h.do("POST", "/api/v1/namespaces/a/webhooks", "admin", `{"metadata":{"name":"w"},"spec":{"url":"https://169.254.169.254/"},"secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`)
	if code != 400 || !strings.Contains(text, "spec.url: URLInvalid") {
		t.Errorf("%d %s", code, text)
	}
}
