package api

import (
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
)

func TestTryHookPostsNothing(t *testing.T) {
	h := newHouse(t)
	h.hook("ci", v1alpha1.WebhookSourceSpec{Rules: []v1alpha1.HookRule{{
		Type: event.DeployRequested, When: []v1alpha1.HookCondition{{Path: "header.X-Branch", In: []string{"main"}}},
		Data: map[string]string{"application": "hello", "module": "$.module"},
	}}})
	const at = "/api/v1/namespaces/a/webhooksources/ci/test"
	for name, x := range map[string]struct {
		token, body, want string
		code              int
	}{
		"fits":         {"admin", `{"headers":{"x-branch":"main"},"body":{"module":"m1"}}`, `"module":"m1"`, 200},
		"fits no rule": {"admin", `{"headers":{"x-branch":"other"},"body":{"module":"m1"}}`, `"status":"ignored"`, 200},
		"no body":      {"admin", `{}`, `"status":"ignored"`, 200},
		"refused":      {"admin", `{"headers":{"x-branch":"main"},"body":{"module":""}}`, "", 400},
		"not JSON":     {"admin", `{"body":`, "", 400},
		"may not":      {"a-reader", `{}`, "", 403},
	} {
		code, _, body := h.do("POST", at, x.token, x.body)
		if code != x.code || !strings.Contains(body, x.want) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if code, _, _ := h.do("POST", strings.Replace(at, "/ci/", "/nobody/", 1), "admin", `{}`); code != 404 {
		t.Errorf("a source that is not there: %d", code)
	}
	if got := h.posted.of(event.DeployRequested); len(got) != 0 {
		t.Errorf("posted: %v", got)
	}
}
