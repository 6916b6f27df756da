package api

import (
	"net/http"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/trace"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// items is a page of things that are documented by T.
type items[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

type (
	whoamiAnswer struct {
		Name       string          `json:"name"`
		Groups     []string        `json:"groups"`
		Namespaces []string        `json:"namespaces"`
		May        map[string]bool `json:"may"`
	}
	systemAnswer struct {
		Version string            `json:"version"`
		Started string            `json:"started"`
		Time    string            `json:"time"`
		Parts   map[string]string `json:"parts"`
	}
	deviceDoc struct {
		Object v1alpha1.Device   `json:"object"`
		View   ledger.DeviceView `json:"view"`
	}
	applicationDoc struct {
		Object v1alpha1.Application `json:"object"`
		Counts *ledger.Counts       `json:"counts,omitempty"`
	}
	patchDoc struct {
		Metadata *struct {
			Labels      map[string]*string `json:"labels,omitempty"`
			Annotations map[string]*string `json:"annotations,omitempty"`
		} `json:"metadata,omitempty"`
		Spec map[string]any `json:"spec,omitempty"`
	}
	statusDoc struct {
		Status string `json:"status"`
	}
	eventDoc struct {
		Event string `json:"event"`
	}
	operationDoc struct {
		Operation string `json:"operation"`
	}
	redeliverDoc struct {
		Redelivered int `json:"redelivered"`
	}
	explainDoc struct {
		Items []Explanation `json:"items"`
	}
)

// routeDocs documents every route. A test compares it with the routes, and the answers with it.
func routeDocs() map[string]doc {
	const v, ns = "/api/v1", "/api/v1/namespaces/:namespace"
	const dev, app = ns + "/devices/:name", ns + "/applications/:name"
	device, application, gateway := v1alpha1.Device{}, v1alpha1.Application{}, v1alpha1.Gateway{}
	labels := append([]string{"labelSelector: a Kubernetes label selector"}, pageParameters...)
	filters := append([]string{
		"q: part of the name or board", "board: of this type", "online: true or false", "app: selected by this application", "set: in this work set of app",
		"pending: true for those that wait for approval", "labelSelector: a Kubernetes label selector",
	}, pageParameters...)
	return map[string]doc{
		"GET " + v + "/status":                    {summary: "How the parts are, and which gateways are up", answer: statusAnswer{}},
		"GET " + v + "/whoami":                    {summary: "Who the caller is, and what there is to see", query: []string{"namespace: may also says what the caller may do there, as \"verb resource\""}, answer: whoamiAnswer{}},
		"GET " + v + "/system":                    {summary: "Version and parts", answer: systemAnswer{}},
		"GET " + v + "/boards":                    {summary: "The table of boards, with what was really run on each", answer: items[Board]{}},
		"GET " + v + "/languages":                 {summary: "Languages that can be compiled here, and what is missing for the others", answer: items[source.Language]{}},
		"GET " + v + "/templates":                 {summary: "Modules to start from", answer: items[source.Template]{}},
		"GET " + v + "/events":                    {summary: "Recent CloudEvents of the broker", query: append([]string{"type: only of this type", "namespace: only of this namespace"}, streamParameters...), answer: items[ce.Event]{}, stream: true},
		"GET " + v + "/events/:name/trace":        {summary: "The way of an event, a trace or a traceparent through the platform, with the time of each hop; hops of namespaces whose devices the caller may not list are left out", answer: trace.Trace{}},
		"GET " + ns + "/applications/:name/trace": {summary: "The trace in which the application was last rolled out", answer: trace.Trace{}},
		"GET " + v + "/queues":                    {summary: "The broker's lines, one for each Trigger", answer: items[QueueLine]{}},
		"GET " + v + "/deadletters":               {summary: "Events that a Trigger's subscriber did not take", query: append([]string{"trigger: namespace/name of the Trigger"}, pageParameters...), answer: items[Letter]{}},
		"POST " + v + "/deadletters":              {summary: "Deliver dead letters again", body: redeliverBody{}, answer: redeliverDoc{}},
		"GET " + v + "/ws":                        {summary: "WebSocket to follow devices, events, telemetry and logs", status: http.StatusSwitchingProtocols},
		"GET " + v + "/metrics/summary":           {summary: "How the platform does: figures of now and of the last hour", query: []string{"minutes: of history, 1 to 60, default 60"}, answer: metricsAnswer{}},
		"GET " + v + "/parts":                     {summary: "The platform's own parts: how they are and what they take", answer: items[Part]{}},
		"GET " + v + "/parts/:name/logs":          {summary: "The end of a part's log", query: []string{"tail: lines, 1 to 2000, default 200"}, answer: partLog{}},
		"GET " + v + "/openapi.json":              {summary: "This contract", answer: map[string]any{}},

		"POST /hooks/:namespace/:name/permit/:token": {summary: "A webhook's receiver says yes to the CloudEvents handshake, by the URL that it was shown", answer: statusDoc{}},
		"GET /hooks/:namespace/:name/permit/:token":  {summary: "The same, by hand in a browser", answer: statusDoc{}},
		"POST /hooks/:namespace/:name":               {summary: "What an outside system posts: verified and mapped as the WebhookSource of that name says", body: map[string]any{}, answer: hookAnswer{}, status: http.StatusAccepted},
		"POST " + v + "/events":                      {summary: "CloudEvents from outside, one (binary or structured) or a batch; needs create events.wasmbed in the namespace, and for requests what their own routes need", query: []string{"namespace: when the events do not say it"}, body: ce.Event{}, answer: eventsAnswer{}, status: http.StatusAccepted},
		"POST " + ns + "/events":                     {summary: "CloudEvents from outside for this namespace", body: ce.Event{}, answer: eventsAnswer{}, status: http.StatusAccepted},

		"GET " + ns + "/webhooks":                                 {summary: "Webhooks: where events of this namespace are sent", query: labels, answer: items[v1alpha1.Webhook]{}},
		"POST " + ns + "/webhooks":                                {summary: "Make a webhook; secret is stored and never shown", body: webhookBody{}, answer: v1alpha1.Webhook{}, status: http.StatusCreated},
		"GET " + ns + "/webhooks/:name":                           {summary: "A webhook", answer: v1alpha1.Webhook{}},
		"PUT " + ns + "/webhooks/:name":                           {summary: "Make its spec the given one; secret, when given, is rotated in", body: webhookBody{}, answer: v1alpha1.Webhook{}},
		"PATCH " + ns + "/webhooks/:name":                         {summary: "Change labels, annotations or spec (JSON merge patch)", body: patchDoc{}, answer: v1alpha1.Webhook{}},
		"PATCH " + ns + "/webhooksources/:name":                   {summary: "Change labels, annotations or spec (JSON merge patch)", body: patchDoc{}, answer: v1alpha1.WebhookSource{}},
		"DELETE " + ns + "/webhooks/:name":                        {summary: "Remove it, its key and its deliveries", answer: statusDoc{}, status: http.StatusAccepted},
		"POST " + ns + "/webhooks/:name/secret":                   {summary: "Rotate its key: both are in force until dropPrevious", body: secretBody{}, answer: statusDoc{}},
		"POST " + ns + "/webhooks/:name/test":                     {summary: "Send it an event, whatever it is subscribed to", answer: testAnswer{}, status: http.StatusAccepted},
		"POST " + ns + "/webhooks/:name/enable":                   {summary: "Go on with a webhook that was disabled", answer: v1alpha1.Webhook{}},
		"GET " + ns + "/webhooks/:name/deliveries":                {summary: "What was sent or waits, newest first", query: pageParameters, answer: items[deliveryAnswer]{}},
		"GET " + ns + "/webhooks/:name/deliveries/:id":            {summary: "A delivery with its body, without what looks like a secret", answer: deliveryAnswer{}},
		"POST " + ns + "/webhooks/:name/deliveries/:id/redeliver": {summary: "Send it again, under the same id", answer: testAnswer{}, status: http.StatusAccepted},
		"POST " + ns + "/webhooksources/:name/test":               {summary: "What it would make of a request; nothing is posted", body: hookTry{}, answer: hookTried{}},
		"GET " + ns + "/webhooksources":                           {summary: "WebhookSources: what outside systems may post to /hooks", query: labels, answer: items[v1alpha1.WebhookSource]{}},
		"POST " + ns + "/webhooksources":                          {summary: "Make one; secret is stored and never shown", body: hookSourceBody{}, answer: v1alpha1.WebhookSource{}, status: http.StatusCreated},
		"GET " + ns + "/webhooksources/:name":                     {summary: "A WebhookSource", answer: v1alpha1.WebhookSource{}},
		"PUT " + ns + "/webhooksources/:name":                     {summary: "Make its spec the given one; secret, when given, is rotated in", body: hookSourceBody{}, answer: v1alpha1.WebhookSource{}},
		"DELETE " + ns + "/webhooksources/:name":                  {summary: "Remove it and its key", answer: statusDoc{}, status: http.StatusAccepted},
		"POST " + ns + "/webhooksources/:name/secret":             {summary: "Rotate its key: both are in force until dropPrevious", body: secretBody{}, answer: statusDoc{}},

		"GET " + ns + "/overview":    {summary: "The fleet at a glance", answer: overviewAnswer{}},
		"GET " + ns + "/alerts":      {summary: "What a person should look at, each with its mend", answer: items[Attention]{}},
		"GET " + ns + "/watch":       {summary: "Every move of a device, or of an application on it, as server-sent events", stream: true},
		"GET " + ns + "/telemetry":   {summary: "Telemetry of the first hundred devices", query: streamParameters, answer: items[Sample]{}, stream: true},
		"GET " + ns + "/logs":        {summary: "Log lines of the first hundred devices", query: streamParameters, answer: items[Line]{}, stream: true},
		"GET " + ns + "/enrollments": {summary: "Devices that wait for approval", query: pageParameters, answer: items[v1alpha1.Device]{}},
		"POST " + ns + "/compile":    {summary: "Make a module of source code", body: source.Request{}, answer: compileAnswer{}},
		"POST " + ns + "/inspect":    {summary: "What a module needs, and which boards it fits", body: inspectBody{}, answer: inspection{}},

		"GET " + ns + "/devices":       {summary: "Devices as the ledger sees them, by name", query: filters, answer: items[ledger.DeviceView]{}},
		"POST " + ns + "/devices":      {summary: "Make a device", body: device, answer: device, status: http.StatusCreated},
		"POST " + ns + "/bulk/devices": {summary: "One action on many devices: approve, reject, revoke, hold, release, label, delete", body: bulkBody{}, answer: bulkAnswer{}},
		"GET " + dev:                   {summary: "A device: what is wanted beside what is so", answer: deviceDoc{}},
		"PATCH " + dev:                 {summary: "Change labels, annotations or spec (JSON merge patch)", body: patchDoc{}, answer: device},
		"DELETE " + dev:                {summary: "Remove a device", answer: statusDoc{}, status: http.StatusAccepted},
		"GET " + dev + "/explain":      {summary: "Why it does not run what is wanted: one named cause for each application", query: []string{"application: only this one"}, answer: explainDoc{}},
		"GET " + dev + "/telemetry":    {summary: "Its telemetry", query: streamParameters, answer: items[Sample]{}, stream: true},
		"GET " + dev + "/logs":         {summary: "Its log lines", query: streamParameters, answer: items[Line]{}, stream: true},
		"GET " + dev + "/console":      {summary: "The console of its emulated board, as text", query: []string{"follow: true to go on", "tail: lines from the end"}},
		"GET " + dev + "/timeline":     {summary: "What happened to it, newest first", answer: items[moment]{}},
		"GET " + dev + "/commands":     {summary: "Its open commands and the last results", answer: commandsAnswer{}},
		"POST " + dev + "/invoke":      {summary: "Call a function of a module on it, and wait for the answer", body: commandBody{}, answer: commandAnswer{}},
		"POST " + dev + "/message":     {summary: "Hand a message to a module on it", body: commandBody{}, answer: commandAnswer{}},
		"POST " + dev + "/reboot":      {summary: "Restart it", answer: commandAnswer{}},
		"POST " + dev + "/approve":     {summary: "Admit it", answer: device},
		"POST " + dev + "/reject":      {summary: "Refuse it", answer: device},
		"POST " + dev + "/revoke":      {summary: "End its identity at once", answer: device},
		"POST " + dev + "/hold":        {summary: "Send it nothing new", answer: device},
		"POST " + dev + "/release":     {summary: "End a hold", answer: device},
		"POST " + dev + "/disconnect":  {summary: "End its session; what it runs goes on, and it comes back after retryAfter", body: disconnectBody{}, bodyMayLack: true, answer: disconnectAnswer{}},
		"POST " + dev + "/start":       {summary: "Switch its emulated board on", answer: device},
		"POST " + dev + "/stop":        {summary: "Switch its emulated board off", answer: device},
		"POST " + dev + "/reset":       {summary: "Press the reset button of its emulated board", answer: device},
		"POST " + dev + "/power-cut":   {summary: "Cut the power of its emulated board and give it back", answer: device},

		"POST " + ns + "/invoke":          {summary: "Call a function on many devices", body: commandBody{}, answer: operationDoc{}, status: http.StatusAccepted},
		"POST " + ns + "/message":         {summary: "Hand a message to many devices", body: commandBody{}, answer: operationDoc{}, status: http.StatusAccepted},
		"POST " + ns + "/reboot":          {summary: "Restart many devices", body: commandBody{}, answer: operationDoc{}, status: http.StatusAccepted},
		"GET " + ns + "/operations/:name": {summary: "How far a command to many has come", answer: ledger.Operation{}},

		"GET " + ns + "/applications":              {summary: "Applications", query: labels, answer: items[v1alpha1.Application]{}},
		"GET " + app:                               {summary: "An application, with its counts of this moment", answer: applicationDoc{}},
		"PUT " + app:                               {summary: "Create an application, or make its spec the given one", query: []string{"ifAbsent: true to only create"}, body: application, answer: application, also: http.StatusCreated},
		"PATCH " + app:                             {summary: "Change labels, annotations or spec (JSON merge patch)", body: patchDoc{}, answer: application},
		"DELETE " + app:                            {summary: "Remove it, from its devices first", answer: statusDoc{}, status: http.StatusAccepted},
		"GET " + app + "/explain":                  {summary: "The devices that are behind, each with its cause", answer: explainDoc{}},
		"GET " + app + "/devices":                  {summary: "Its devices in a work set", query: append([]string{"set: work set; any when not given"}, pageParameters...), answer: items[event.Device]{}},
		"POST " + app + "/rollback":                {summary: "Ask for a rollback", body: rollbackBody{}, answer: eventDoc{}, status: http.StatusAccepted},
		"POST " + app + "/pause":                   {summary: "Send its rollout to no further device", answer: application},
		"POST " + app + "/resume":                  {summary: "Go on with a paused rollout", answer: application},
		"GET " + ns + "/gateways":                  {summary: "Gateways", query: labels, answer: items[v1alpha1.Gateway]{}},
		"GET " + ns + "/trust":                     {summary: "The trust anchor: the certificate (PEM) that devices of the namespace verify gateways by", answer: trustAnswer{}},
		"GET " + ns + "/gateways/:name":            {summary: "A gateway", answer: gateway},
		"POST " + ns + "/gateways/:name/pairing":   {summary: "Let unknown devices ask for a time", body: pairingBody{}, answer: gateway},
		"DELETE " + ns + "/gateways/:name/pairing": {summary: "Let no unknown device ask any more", answer: gateway},
		"PUT " + ns + "/gateways/:name":            {summary: "Create a gateway, or make its spec the given one", body: gateway, answer: gateway, also: http.StatusCreated},
		"DELETE " + ns + "/gateways/:name":         {summary: "Remove a gateway", answer: statusDoc{}, status: http.StatusAccepted},
		"PATCH " + ns + "/gateways/:name":          {summary: "Change labels, annotations or spec (JSON merge patch)", body: patchDoc{}, answer: gateway},
		"POST " + ns + "/gateways/:name/disable":   {summary: "Switch it off: its processes take no session and end those that they have", answer: gateway},
		"POST " + ns + "/gateways/:name/enable":    {summary: "Switch it on again", answer: gateway},
		"GET " + ns + "/tokens":                    {summary: "Service tokens, without the tokens; asked of Kubernetes as the caller", query: pageParameters, answer: items[tokenInfo]{}},
		"POST " + ns + "/tokens":                   {summary: "Make a service account, bind it to a role and get a token of it, as the caller: Kubernetes refuses who may not", body: tokenBody{}, answer: tokenAnswer{}, status: http.StatusCreated},
		"DELETE " + ns + "/tokens/:name":           {summary: "End a service token, as the caller", answer: statusDoc{}},
		"GET " + ns + "/revisions/:name":           {summary: "A revision", answer: v1alpha1.Revision{}},
		"POST " + ns + "/modules":                  {summary: "Keep a module under the name of its content", body: moduleBody{}, answer: moduleAnswer{}, status: http.StatusCreated, also: http.StatusOK},
		"GET " + ns + "/modules/:name":             {summary: "A module", query: []string{"bytes: true for the bytes, too"}, answer: v1alpha1.Module{}},
		"DELETE " + ns + "/modules/:name":          {summary: "Remove a module", answer: statusDoc{}, status: http.StatusAccepted},
		"POST " + app + "/stop":                    {summary: "Stop it on its devices, without removing it", answer: application},
		"POST " + app + "/start":                   {summary: "Have it run again", answer: application},
		"GET " + ns + "/revisions":                 {summary: "Revisions of applications", query: labels, answer: items[v1alpha1.Revision]{}},
		"GET " + ns + "/modules":                   {summary: "Modules, without their bytes", query: labels, answer: items[v1alpha1.Module]{}},
	}
}
