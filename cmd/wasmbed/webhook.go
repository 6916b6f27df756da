package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/internal/errs"
)

// delivery is one event on its way to a webhook's receiver, as the API shows it.
type delivery struct {
	ID    string `json:"id"`
	Event struct {
		ID      string `json:"id"`
		Source  string `json:"source"`
		Type    string `json:"type"`
		Subject string `json:"subject,omitempty"`
	} `json:"event"`
	Status   string     `json:"status"`
	Attempts int        `json:"attempts"`
	Created  time.Time  `json:"created"`
	Next     *time.Time `json:"next,omitempty"`
	Tries    []struct {
		Time     time.Time `json:"time"`
		Seconds  float64   `json:"seconds"`
		Status   int       `json:"status,omitempty"`
		Reason   string    `json:"reason,omitempty"`
		Message  string    `json:"message,omitempty"`
		Response string    `json:"response,omitempty"`
	} `json:"tries"`
	Body string `json:"body,omitempty"`
	Cut  bool   `json:"cut,omitempty"`
}

func (d *delivery) last() string {
	if len(d.Tries) == 0 {
		return ""
	}
	t := d.Tries[len(d.Tries)-1]
	if t.Reason == "" {
		return fmt.Sprint(t.Status)
	}
	return strings.TrimSpace(t.Reason + " " + t.Message)
}

func (c *cli) webhooksCmd() *cobra.Command {
	return &cobra.Command{
		Use: "webhooks [NAME]", Short: "List where events are sent, or show one", Args: cobra.MaximumNArgs(1), ValidArgsFunction: c.complete("webhooks"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var hooks []v1alpha1.Webhook
			var err error
			if len(args) == 1 {
				hooks = make([]v1alpha1.Webhook, 1)
				err = c.rest.do(cmd.Context(), http.MethodGet, c.ns("webhooks", args[0]), nil, nil, &hooks[0])
			} else {
				hooks, err = all[v1alpha1.Webhook](cmd.Context(), c.rest, c.ns("webhooks"))
			}
			if err != nil {
				return err
			}
			return c.show(hooks, func(w *tabwriter.Writer, wide bool) {
				row(w, "NAME", "URL", "STATE", "DELIVERED", "WAITING", "FAILED", "LAST", "AGE")
				for _, h := range hooks {
					state, last := "", ""
					if r := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionReady); r != nil {
						state = r.Reason
						if wide && r.Message != "" {
							state += " (" + r.Message + ")"
						}
					}
					if l := h.Status.LastDelivery; l != nil {
						last = fmt.Sprintf("%d %s", l.Status, age(l.Time.Time))
						if l.Reason != "" {
							last = l.Reason + " " + age(l.Time.Time)
						}
					}
					row(w, h.Name, h.Spec.URL, state, h.Status.Delivered, h.Status.Waiting, h.Status.Failed, last, age(h.CreationTimestamp.Time))
				}
			})
		},
	}
}

func (c *cli) webhookCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Make, try, watch and remove webhooks"}
	one := func(use, short string, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(strings.Count(use, " ")), ValidArgsFunction: c.complete("webhooks"), RunE: run}
	}
	cmd.AddCommand(c.createWebhookCmd(),
		one("delete NAME", "Remove a webhook, its key and its deliveries", func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("webhooks", args[0]), nil, nil, nil); err != nil {
				return err
			}
			return c.became("Webhook", args[0], "deleted")
		}),
		one("enable NAME", "Go on with a webhook that was disabled", func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooks", args[0], "enable"), nil, nil, nil); err != nil {
				return err
			}
			return c.became("Webhook", args[0], "enabled")
		}),
		c.testWebhookCmd(), c.deliveriesCmd(),
		one("redeliver NAME DELIVERY", "Send a delivery again, under the same id", func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooks", args[0], "deliveries", url.PathEscape(args[1]), "redeliver"), nil, nil, nil); err != nil {
				return err
			}
			return c.became("Delivery", args[1], "on its way")
		}),
		c.rotateCmd("webhooks"))
	return cmd
}

// newKey makes a key of Standard Webhooks.
func newKey() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", errs.New(errs.Internal, "make a key: %w", err)
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(b), nil
}

// keyFrom takes the key from a file or standard input, else makes one. made: the user must be told it.
func keyFrom(file string) (key string, made bool, err error) {
	switch file {
	case "":
		key, err = newKey()
		return key, true, err
	case "-":
		b, err := io.ReadAll(io.LimitReader(os.Stdin, 8<<10))
		if err != nil {
			return "", false, errs.New(errs.Invalid, "standard input: %w", err)
		}
		return strings.TrimSpace(string(b)), false, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false, errs.New(errs.Invalid, "%w", err)
	}
	return strings.TrimSpace(string(b)), false, nil
}

func (c *cli) tellKey(key string, made bool) {
	if made {
		fmt.Fprintf(c.err, "its key, which is not shown again: %s\n", key)
	}
}

func (c *cli) createWebhookCmd() *cobra.Command {
	var w v1alpha1.Webhook
	var secretFile, secretRef, subject, app string
	cmd := &cobra.Command{
		Use: "create NAME URL", Short: "Send events to a URL; the key that signs them is made, unless one is given", Args: cobra.ExactArgs(2),
		Example: "  wasmbed webhook create mes https://mes.example.net/events --type 'io.wasmbed.rollout.*'",
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Name, w.Spec.URL = args[0], args[1]
			if subject != "" || app != "" {
				w.Spec.Filter = &v1alpha1.WebhookFilter{SubjectPrefix: subject, Application: app}
			}
			body := struct {
				v1alpha1.Webhook `json:",inline"`
				Secret           string `json:"secret,omitempty"`
			}{Webhook: w}
			made := false
			if body.Spec.SecretRef.Name = secretRef; secretRef == "" {
				var err error
				if body.Secret, made, err = keyFrom(secretFile); err != nil {
					return err
				}
			}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooks"), nil, body, &w); err != nil {
				return err
			}
			c.tellKey(body.Secret, made)
			return c.became("Webhook", w.Name, "created")
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&w.Spec.Types, "type", nil, "only events of this type, or that begin so (with a * at the end); may be repeated")
	f.StringVar(&subject, "subject-prefix", "", "only events whose subject begins so")
	f.StringVar(&app, "application", "", "only events about this application")
	f.StringVar(&w.Spec.Format, "format", "", "CloudEventsStructured (default), CloudEventsBinary or JSON")
	f.StringVar(&w.Spec.Handshake, "handshake", "", "Ask (default), Require or None")
	f.BoolVar(&w.Spec.AllowPrivate, "allow-private", false, "also to loopback and private addresses, and http to those")
	f.StringVar(&secretFile, "secret-file", "", "take the key from a file, - for standard input")
	f.StringVar(&secretRef, "secret-ref", "", "use a Secret that is there (of type wasmbed.io/webhook)")
	return cmd
}

func (c *cli) testWebhookCmd() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "test NAME", Short: "Send a webhook an event and say what its receiver answers", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("webhooks"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t struct{ Event, Delivery string }
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooks", args[0], "test"), nil, nil, &t); err != nil {
				return err
			}
			var d delivery
			end := time.After(wait)
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for len(d.Tries) == 0 {
				err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("webhooks", args[0], "deliveries", t.Delivery), nil, nil, &d)
				if err != nil && !errs.Is(err, errs.NotFound) { // not found: the function has not heard of it yet
					return err
				}
				select {
				case <-tick.C:
				case <-end:
					return errs.New(errs.Deadline, "no attempt within %v", wait).WithMend("wasmbed webhooks -o wide says what is missing")
				case <-cmd.Context().Done():
					return errs.New(errs.Deadline, "interrupted")
				}
			}
			if err := c.show(d, func(w *tabwriter.Writer, _ bool) {
				fmt.Fprintf(w, "%s: %s in %.0f ms\n", strings.ToLower(d.Status), d.last(), d.Tries[0].Seconds*1000)
			}); err != nil {
				return err
			}
			if d.Status != "Delivered" {
				return errs.New(errs.Conflict, "the receiver did not take it: %s", d.last())
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "timeout", 20*time.Second, "how long to wait for the first attempt")
	return cmd
}

func (c *cli) deliveriesCmd() *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use: "deliveries NAME [DELIVERY]", Short: "What was sent or waits, newest first; or one of them, whole", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: c.complete("webhooks"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				var d delivery
				if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("webhooks", args[0], "deliveries", url.PathEscape(args[1])), nil, nil, &d); err != nil {
					return err
				}
				return c.show(d, func(w *tabwriter.Writer, _ bool) {
					row(w, "delivery", d.ID)
					row(w, "event", d.Event.Type, d.Event.Subject)
					row(w, "from", d.Event.Source, d.Event.ID)
					row(w, "status", d.Status, fmt.Sprintf("%d attempts", d.Attempts))
					for _, t := range d.Tries {
						row(w, t.Time.Format(time.RFC3339), t.Status, strings.TrimSpace(t.Reason+" "+t.Message))
						if t.Response != "" {
							row(w, "", t.Response)
						}
					}
					fmt.Fprintln(w, d.Body)
				})
			}
			var p struct {
				Items []delivery `json:"items"`
			}
			if err := c.rest.do(cmd.Context(), http.MethodGet, c.ns("webhooks", args[0], "deliveries"), url.Values{"limit": {fmt.Sprint(limit)}}, nil, &p); err != nil {
				return err
			}
			return c.show(p.Items, func(w *tabwriter.Writer, _ bool) {
				row(w, "DELIVERY", "TYPE", "SUBJECT", "STATUS", "ATTEMPTS", "LAST", "NEXT", "AGE")
				for _, d := range p.Items {
					next := ""
					if d.Next != nil {
						next = d.Next.Local().Format(time.TimeOnly)
					}
					row(w, d.ID, d.Event.Type, d.Event.Subject, d.Status, d.Attempts, d.last(), next, age(d.Created))
				}
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many, up to 500")
	return cmd
}

func (c *cli) rotateCmd(kind string) *cobra.Command {
	var file string
	var drop bool
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Put a new key beside the one in force, or (--drop-previous) end the one before", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete(kind),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, key, made := map[string]any{}, "", false
			if drop {
				body["dropPrevious"] = true
			}
			if !drop || file != "" {
				var err error
				if key, made, err = keyFrom(file); err != nil {
					return err
				}
				body["secret"] = key
			}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns(kind, args[0], "secret"), nil, body, nil); err != nil {
				return err
			}
			c.tellKey(key, made)
			return c.became("Secret", args[0], map[bool]string{true: "rotated", false: "without the one before"}[key != ""])
		},
	}
	cmd.Flags().StringVar(&file, "secret-file", "", "take the key from a file, - for standard input")
	cmd.Flags().BoolVar(&drop, "drop-previous", false, "only the current key is in force")
	return cmd
}

func (c *cli) hooksCmd() *cobra.Command {
	return &cobra.Command{
		Use: "hooks [NAME]", Short: "List what outside systems may post to, or show one", Args: cobra.MaximumNArgs(1), ValidArgsFunction: c.complete("webhooksources"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var hooks []v1alpha1.WebhookSource
			var err error
			if len(args) == 1 {
				hooks = make([]v1alpha1.WebhookSource, 1)
				err = c.rest.do(cmd.Context(), http.MethodGet, c.ns("webhooksources", args[0]), nil, nil, &hooks[0])
			} else {
				hooks, err = all[v1alpha1.WebhookSource](cmd.Context(), c.rest, c.ns("webhooksources"))
			}
			if err != nil {
				return err
			}
			return c.show(hooks, func(w *tabwriter.Writer, _ bool) {
				row(w, "NAME", "PATH", "SCHEME", "MAKES", "PAUSED", "AGE")
				for _, h := range hooks {
					var types []string
					for _, r := range h.Spec.Rules {
						types = append(types, r.Type)
					}
					row(w, h.Name, "/hooks/"+h.Namespace+"/"+h.Name, h.Spec.Verify.Scheme, strings.Join(types, ","), h.Spec.Paused, age(h.CreationTimestamp.Time))
				}
			})
		},
	}
}

func (c *cli) hookCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "hook", Short: "Make and remove doors for outside systems (CI jobs, registries, forges)"}
	var file, secretFile string
	create := &cobra.Command{
		Use: "create -f FILE", Short: "Make a WebhookSource from a manifest; its key is made, unless the manifest names one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			var body struct {
				v1alpha1.WebhookSource `json:",inline"`
				Secret                 string `json:"secret,omitempty"`
			}
			if err := yaml.UnmarshalStrict(b, &body); err != nil {
				return errs.New(errs.Invalid, "%s: %w", file, err)
			}
			body.Namespace = ""
			made := false
			if body.Spec.SecretRef.Name == "" && body.Secret == "" {
				if body.Secret, made, err = keyFrom(secretFile); err != nil {
					return err
				}
			}
			key := body.Secret
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("webhooksources"), nil, body, &body.WebhookSource); err != nil {
				return err
			}
			c.tellKey(key, made)
			return c.became("WebhookSource", body.Name, "created")
		},
	}
	create.Flags().StringVarP(&file, "file", "f", "", "the manifest")
	create.Flags().StringVar(&secretFile, "secret-file", "", "take the key from a file, - for standard input")
	_ = create.MarkFlagRequired("file") // the flag is there
	cmd.AddCommand(create, &cobra.Command{
		Use: "delete NAME", Short: "Remove a WebhookSource and its key", Args: cobra.ExactArgs(1), ValidArgsFunction: c.complete("webhooksources"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.rest.do(cmd.Context(), http.MethodDelete, c.ns("webhooksources", args[0]), nil, nil, nil); err != nil {
				return err
			}
			return c.became("WebhookSource", args[0], "deleted")
		},
	}, c.rotateCmd("webhooksources"), c.tryHookCmd())
	return cmd
}

// cloudEvent is a body in structured mode.
type cloudEvent map[string]any

func (cloudEvent) contentType() string { return "application/cloudevents+json" }

func (c *cli) postEventCmd() *cobra.Command {
	var id, subject string
	cmd := &cobra.Command{
		Use: "post-event TYPE [JSON]", Short: "Post a CloudEvent, as outside systems do", Args: cobra.RangeArgs(1, 2),
		Example: `  wasmbed post-event io.wasmbed.deploy.requested.v1 '{"application":"hello","module":"hello-as"}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if id == "" {
				id = event.NewID()
			}
			body := cloudEvent{"specversion": "1.0", "id": id, "source": "/wasmbed/cli", "type": args[0]}
			if subject != "" {
				body["subject"] = subject
			}
			if len(args) == 2 {
				if !json.Valid([]byte(args[1])) {
					return errs.New(errs.Invalid, "the data are not JSON")
				}
				body["datacontenttype"], body["data"] = "application/json", json.RawMessage(args[1])
			}
			if err := c.rest.do(cmd.Context(), http.MethodPost, c.ns("events"), nil, body, nil); err != nil {
				return err
			}
			return c.became("Event", id, "accepted")
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "its id; posted again under the same id it is the same event")
	cmd.Flags().StringVar(&subject, "subject", "", "its subject")
	return cmd
}
