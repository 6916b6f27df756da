package main

import (
	"io"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// reached says by which command a person comes to each route of the REST API; a word in brackets says why by none.
// Below /api/v1, N for a namespace.
var reached = map[string]string{
	"GET /status": "status", "GET /whoami": "whoami", "GET /system": "status", "GET /boards": "boards", "GET /languages": "languages",
	"GET /templates": "templates", "GET /events": "events", "GET /queues": "queues", "GET /deadletters": "deadletters",
	"POST /deadletters": "deadletters", "GET /ws": "watch", "GET /openapi.json": "(for programs)", "GET /docs": "(for browsers)",
	"GET /metrics/summary": "metrics", "GET /parts": "parts", "GET /parts/{name}/logs": "parts", "POST /events": "(from other systems)", "POST N/events": "(from other systems)", "POST /hooks/{namespace}/{name}": "(from other systems)",
	"GET /hooks/{namespace}/{name}/permit/{token}": "(from other systems)", "POST /hooks/{namespace}/{name}/permit/{token}": "(from other systems)",

	"GET /events/{name}/trace": "trace", "GET N/applications/{name}/trace": "trace",

	"GET N/overview": "overview", "GET N/alerts": "alerts", "GET N/watch": "devices", "GET N/telemetry": "telemetry", "GET N/logs": "logs",
	"GET N/enrollments": "enrollments", "POST N/compile": "compile", "POST N/inspect": "inspect",

	"GET N/devices": "devices", "POST N/devices": "devices create", "POST N/bulk/devices": "hold", "GET N/devices/{name}": "devices",
	"PATCH N/devices/{name}": "label", "DELETE N/devices/{name}": "devices delete", "GET N/devices/{name}/explain": "explain device",
	"GET N/devices/{name}/telemetry": "telemetry", "GET N/devices/{name}/logs": "logs", "GET N/devices/{name}/console": "console",
	"GET N/devices/{name}/timeline": "timeline", "GET N/devices/{name}/commands": "commands", "POST N/devices/{name}/invoke": "invoke",
	"POST N/devices/{name}/message": "message", "POST N/devices/{name}/reboot": "reboot", "POST N/devices/{name}/approve": "approve",
	"POST N/devices/{name}/reject": "reject", "POST N/devices/{name}/revoke": "revoke", "POST N/devices/{name}/hold": "hold",
	"POST N/devices/{name}/release": "release", "POST N/devices/{name}/start": "devices start", "POST N/devices/{name}/stop": "devices stop",
	"POST N/devices/{name}/reset": "devices reset", "POST N/devices/{name}/power-cut": "devices power-cut",

	"POST N/invoke": "invoke", "POST N/message": "message", "POST N/reboot": "reboot", "GET N/operations/{name}": "invoke",

	"GET N/applications": "apps", "GET N/applications/{name}": "apps", "PUT N/applications/{name}": "deploy", "PATCH N/applications/{name}": "deploy",
	"DELETE N/applications/{name}": "apps delete", "GET N/applications/{name}/explain": "explain app", "GET N/applications/{name}/devices": "apps devices",
	"POST N/applications/{name}/rollback": "rollback", "POST N/applications/{name}/pause": "pause", "POST N/applications/{name}/resume": "resume",
	"GET N/trust": "trust", "GET N/gateways": "gateways", "GET N/gateways/{name}": "gateways", "POST N/gateways/{name}/pairing": "pairing open", "DELETE N/gateways/{name}/pairing": "pairing close",
	"POST N/devices/{name}/disconnect": "devices disconnect", "POST N/gateways/{name}/disable": "gateways disable", "POST N/gateways/{name}/enable": "gateways enable",
	"PATCH N/gateways/{name}": "gateways set", "GET N/revisions/{name}": "revisions",
	"GET N/tokens": "token list", "POST N/tokens": "token create", "DELETE N/tokens/{name}": "token revoke",
	"GET N/revisions": "revisions", "GET N/modules": "modules",
	"GET N/modules/{name}": "modules", "POST N/modules": "modules add", "DELETE N/modules/{name}": "modules delete",
	"PUT N/gateways/{name}": "gateways set", "DELETE N/gateways/{name}": "gateways delete",
	"POST N/applications/{name}/stop": "apps stop", "POST N/applications/{name}/start": "apps start",
}

func TestEveryRouteHasACommand(t *testing.T) {
	h := newHome(t)
	c := &cli{out: io.Discard, err: io.Discard}
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := c.rest.do(t.Context(), http.MethodGet, "openapi.json", nil, nil, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.Paths) < 40 {
		t.Fatalf("%d routes", len(contract.Paths))
	}
	commands, hooks := map[string]bool{}, false
	walk(newRoot(io.Discard, io.Discard), func(cmd *cobra.Command) {
		commands[strings.TrimPrefix(way(cmd), "wasmbed ")] = true
		hooks = hooks || strings.HasPrefix(cmd.Name(), "webhook")
	})
	var missing []string
	for path, methods := range contract.Paths {
		for m := range methods {
			m = strings.ToUpper(m)
			if m == "PARAMETERS" {
				continue
			}
			route := m + " " + strings.Replace(strings.TrimPrefix(path, "/api/v1"), "/namespaces/{namespace}", "N", 1)
			route = strings.Replace(route, " /N", " N", 1)
			by, ok := reached[route]
			switch {
			case strings.Contains(path, "hook") && hooks: // the whole group is one command's
			case !ok:
				missing = append(missing, route)
			case !strings.HasPrefix(by, "(") && !commands[by]:
				t.Errorf("%s is said to be reached by wasmbed %s, which is not there", route, by)
			}
		}
	}
	sort.Strings(missing)
	if len(missing) > 0 {
		h.Errorf("no command reaches\n  %s\nadd one, or say in this test why not", strings.Join(missing, "\n  "))
	}
}
