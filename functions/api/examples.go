package api

import (
	"encoding/json"
	"strings"
)

// examples are bodies to begin with, by method and path below /api/v1 (N: of a namespace). A test holds them against the
// types that the routes read.
func examples() map[string]string {
	const merge = `{"metadata":{"labels":{"site":"lab"}}}`
	const hook = `{"metadata":{"name":"chat"},"spec":{"url":"https://hooks.example.com/wasmbed","types":["io.wasmbed.rollout.completed.v1"]}}`
	return map[string]string{
		"POST /deadletters":                  `{"trigger":"wasmbed-system/deploy"}`,
		"POST N/devices":                     `{"metadata":{"name":"press-7","labels":{"site":"lab"}},"spec":{"board":"Mps2An385","emulation":{"backend":"QEMU"}}}`,
		"POST N/bulk/devices":                `{"action":"approve","names":["press-7","press-8"]}`,
		"PATCH N/devices/:name":              merge,
		"PATCH N/applications/:name":         `{"spec":{"paused":true}}`,
		"PATCH N/gateways/:name":             `{"spec":{"heartbeat":"5s"}}`,
		"PATCH N/webhooks/:name":             `{"spec":{"paused":true}}`,
		"PATCH N/webhooksources/:name":       merge,
		"POST N/devices/:name/invoke":        `{"application":"counter","function":"add","json":{"n":2},"timeout":"5s"}`,
		"POST N/devices/:name/message":       `{"application":"counter","topic":"set","text":"7"}`,
		"POST N/devices/:name/disconnect":    `{"retryAfter":"30s"}`,
		"POST N/invoke":                      `{"application":"counter","function":"read","all":true}`,
		"POST N/message":                     `{"application":"counter","topic":"set","text":"7","selector":"site=lab"}`,
		"POST N/reboot":                      `{"devices":["press-7"]}`,
		"PUT N/applications/:name":           `{"spec":{"module":{"name":"m-0123456789abcdef"},"targets":{"selector":{"matchLabels":{"site":"lab"}}},"manifest":{"permissions":["log"]}}}`,
		"POST N/applications/:name/rollback": `{"reason":"it blinks"}`,
		"POST N/gateways/:name/pairing":      `{"for":"10m","approval":"Manual"}`,
		"PUT N/gateways/:name":               `{"spec":{"address":"gateway.example.net:8081","heartbeat":"10s"}}`,
		"POST N/modules":                     `{"bytes":"AGFzbQEAAAA="}`,
		"POST N/inspect":                     `{"module":"AGFzbQEAAAA="}`,
		"POST N/compile":                     `{"language":"wat","files":{"main.wat":"(module (func (export \"start\")))"}}`,
		"POST N/tokens":                      `{"name":"ci","role":"deployer","for":"720h"}`,
		"POST N/webhooks":                    hook,
		"POST N/webhooks/:name/secret":       `{"secret":"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}`,
		"POST N/webhooksources/:name/secret": `{"dropPrevious":true}`,
		"POST N/events":                      `{"specversion":"1.0","type":"io.wasmbed.deploy.requested.v1","source":"/ci","id":"build-42","datacontenttype":"application/json","data":{"application":"counter"}}`,
	}
}

// short is a path as the examples have it.
func short(path string) string {
	path = strings.TrimPrefix(path, "/api/v1")
	return strings.Replace(path, "/namespaces/:namespace", "N", 1)
}

// exampleOf is the example of a route, nil when there is none.
func exampleOf(rt route) any {
	text, ok := examples()[rt.method+" "+short(rt.path)]
	var v any
	if !ok || json.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	return v
}
