package main

import (
	"strings"
	"testing"
	"time"
)

// TestCommandsAboutThePlatform: figures, parts, tokens and switches, against what the routes answer.
func TestCommandsAboutThePlatform(t *testing.T) {
	token := `{"name":"ci","role":"deployer","user":"system:serviceaccount:default:token-ci","expires":"2999-01-01T00:00:00Z","expired":false`
	f := newFake(t, map[string]string{
		"GET /metrics/summary?minutes=15": `{"every":5,"figures":[{"name":"sessions","title":"devices with a session","unit":""},{"name":"redisMemory","title":"Redis' memory","unit":"bytes"},{"name":"unsaid","title":"nobody said it","unit":""}],
			"now":{"sessions":3,"redisMemory":2097152},"parts":[{"name":"api","healthy":true,"memory":1048576,"goroutines":7},{"name":"broker","healthy":true,"sharedWith":"api"},{"name":"gateway","healthy":false,"message":"\u001b[31mgone"}],
			"functions":[{"name":"deploy","events":1.5,"p95":0.0125}],"triggers":[{"trigger":"sys/deploy","waiting":9}],"history":{"times":[],"values":{"sessions":[1,null,3]}}}`,
		"GET /parts":                     `{"items":[{"name":"redis","healthy":true,"log":true}]}`,
		"GET /parts/redis/logs?tail=2":   `{"part":"redis","lines":["one","two\u001b[2J"]}`,
		"GET /tokens":                    `{"items":[` + token + `}]}`,
		"POST /tokens":                   token + `,"token":"eyJ.secret"}`,
		"DELETE /tokens/ci":              `{"status":"revoked"}`,
		"POST /devices/d1/disconnect":    `{"status":"Disconnected","epoch":1}`,
		"POST /gateways/default/disable": `{"metadata":{"name":"default"},"spec":{"address":"a:1","disabled":true}}`,
		"POST /gateways/default/enable":  `{"metadata":{"name":"default"},"spec":{"address":"a:1"}}`,
	})
	for _, c := range []struct {
		args, says, never string
		asks              string
	}{
		{"metrics -o wide", "2 MiB|▁█|in api's|no: ?[31mgone|12.5ms|sys/deploy", "\x1b|unsaid", "GET /metrics/summary?minutes=15"},
		{"parts", "redis", "", "GET /parts"},
		{"parts redis --tail 2", "one|two", "\x1b", "GET /parts/redis/logs?tail=2"},
		{"token list", "ci|deployer", "", "GET /tokens"},
		{"token create ci --role deployer --for 720h", "eyJ.secret|shown once", "", `POST /tokens {"for":"720h0m0s","name":"ci","role":"deployer"}`},
		{"token create ci -o json", `"token": "eyJ.secret"`, "", `POST /tokens {"name":"ci","role":"viewer"}`},
		{"token revoke ci", "revoked", "", "DELETE /tokens/ci"},
		{"devices disconnect d1 --retry-after 90s", "disconnected", "", `POST /devices/d1/disconnect {"retryAfter":"1m30s"}`},
		{"devices disconnect d1", "disconnected", "", "POST /devices/d1/disconnect"},
		{"gateways disable default", "disabled", "", "POST /gateways/default/disable"},
		{"gateways enable default", "enabled", "", "POST /gateways/default/enable"},
	} {
		out, _, err := f.run(strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		for _, w := range strings.Split(c.says, "|") {
			if !strings.Contains(out, w) {
				t.Errorf("%s does not say %q:\n%s", c.args, w, out)
			}
		}
		for _, w := range strings.Split(c.never, "|") {
			if w != "" && strings.Contains(out, w) {
				t.Errorf("%s says %q:\n%q", c.args, w, out)
			}
		}
		f.sent(c.asks)
	}
}

func TestNumbersForPeople(t *testing.T) {
	third := 0.3333
	for _, c := range []struct{ got, want string }{
		{withUnit(1536, "bytes"), "1.5 KiB"}, {withUnit(10, "bytes/s"), "10 B/s"}, {withUnit(2.5, "1/s"), "2.50/s"}, {withUnit(0.25, "cores"), "0.25 cores"},
		{withUnit(7, ""), "7"}, {took(&third), (333300 * time.Microsecond).String()}, {took(nil), ""}, {trend(nil), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
