package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"wasmbed.io/wasmbed/deploy/manifests"
	"wasmbed.io/wasmbed/internal/errs"
)

// group is a folder of the base, one file of the chart.
type group struct {
	folder string
	when   string // value that switches it; empty: always
}

var groups = []group{
	{"config/rbac", ""}, {"config/settings", ""}, {"config/redis", "redis.enabled"}, {"config/knative", ""}, {"config/gateway", ""}, {"config/api", ""},
	{"config/webui", ""}, {"config/networkpolicies", "networkPolicies.enabled"}, {"config/admission", "admission.enabled"},
	{"config/components/backstop", "backstop.enabled"}, {"config/authority", ""}, {"config/first", "gateway.address"},
}

// set puts a value of the chart where the base has its own. number: it is written without quotes.
type set struct {
	kind, name string // of the object; name is a regular expression of the whole name
	path       []string
	value      string
	number     bool
}

var sets = []set{
	{"Deployment", "wasmbed-gateway", []string{"spec", "replicas"}, "gateway.replicas", true},
	{"HorizontalPodAutoscaler", "wasmbed-gateway", []string{"spec", "minReplicas"}, "gateway.replicas", true},
	{"HorizontalPodAutoscaler", "wasmbed-gateway", []string{"spec", "maxReplicas"}, "gateway.maxReplicas", true},
	{"Service", "wasmbed-gateway", []string{"spec", "type"}, "gateway.serviceType", false},
	{"Deployment", "wasmbed-api", []string{"spec", "replicas"}, "api.replicas", true},
	{"ConfigMap", "wasmbed-config", []string{"data", "WASMBED_TRUST_DOMAIN"}, "trustDomain", false},
	{"ConfigMap", "wasmbed-config", []string{"data", "WASMBED_SINK"}, "broker.sink", false},
	{"ConfigMap", "wasmbed-config", []string{"data", "OTEL_EXPORTER_OTLP_ENDPOINT"}, "otlpEndpoint", false},
	{"Service", "command|report", []string{"spec", "template", "metadata", "annotations", "autoscaling.knative.dev/min-scale"}, "functions.minScale", false},
	{"Gateway", "default", []string{"spec", "address"}, "gateway.address", false},
}

const values = `# Values of the chart. It is generated from the kustomize base (config/): go generate ./deploy/helm/gen.

image:
  # Before the images' names: registry.example.net/wasmbed/
  prefix: wasmbed.io/
  # Tag of all of them: what deploy/images/build gave.
  tag: dev

trustDomain: wasmbed.local # SPIFFE; never change it afterwards
otlpEndpoint: "" # where traces go, OTLP over HTTP

gateway:
  # host:port by which devices reach it. With it the first Gateway, default/default, is made after the rest is there.
  address: ""
  replicas: 2
  maxReplicas: 10
  serviceType: LoadBalancer

api:
  replicas: 2

functions:
  minScale: "0" # of command and report: "1" saves a second where a person waits

broker:
  # Class of the Broker: empty for the cluster's default, Kafka, RabbitMQBroker. config is its spec.config.
  class: ""
  config: {}
  sink: http://broker-ingress.knative-eventing.svc.cluster.local/wasmbed-system/default

redis:
  # false: Redis is elsewhere; the URLs are in the Secrets wasmbed-redis-<user> either way (deploy/redis/secrets.sh).
  enabled: true
  image: docker.io/library/redis:7.2.11
  storage: 4Gi

networkPolicies: {enabled: true}
admission: {enabled: true}
backstop: {enabled: true} # needs Knative's PingSource
`

const chartYAML = `# Generated from config/: go generate ./deploy/helm/gen.
apiVersion: v2
name: wasmbed
description: WebAssembly modules on microcontrollers, by kubectl apply
type: application
version: 0.1.0
appVersion: dev
kubeVersion: ">=1.34.0-0"
`

// own are images of this repository.
var own = regexp.MustCompile(`^wasmbed\.io/([a-z]+)$`)

// chart makes the chart's files, by path.
func chart(root fs.FS) (map[string]string, error) {
	out := map[string]string{"Chart.yaml": chartYAML, "values.yaml": values}
	crds, err := manifests.Objects(root, "config/crd")
	if err != nil {
		return nil, err
	}
	for _, o := range crds {
		if out["crds/"+o.GetName()+".yaml"], err = text(o); err != nil {
			return nil, err
		}
	}
	used := map[string]bool{}
	for _, g := range groups {
		objects, err := manifests.Objects(root, g.folder)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "{{- /* Generated from %s: go generate ./deploy/helm/gen. */ -}}\n", g.folder)
		if g.when != "" {
			fmt.Fprintf(&b, "{{- if .Values.%s }}\n", g.when)
		}
		for _, o := range objects {
			s, err := template(o, used)
			if err != nil {
				return nil, errs.New(errs.Invalid, "%s, %s %s: %w", g.folder, o.GetKind(), o.GetName(), err)
			}
			b.WriteString("---\n" + s)
		}
		if g.when != "" {
			b.WriteString("{{- end }}\n")
		}
		out["templates/"+path.Base(g.folder)+".yaml"] = b.String()
	}
	for _, s := range sets {
		if !used[s.value] {
			return nil, errs.New(errs.Invalid, "the value %s is for nothing: there is no %s %s", s.value, s.kind, s.name)
		}
	}
	return out, nil
}

// token stands for a value until the object is text: YAML quotes it, for it begins with @.
func token(value string, number bool) string {
	if number {
		return "@number " + value + "@"
	}
	return "@" + value + "@"
}

func template(o *unstructured.Unstructured, used map[string]bool) (string, error) {
	for _, s := range sets {
		if ok, err := regexp.MatchString("^(?:"+s.name+")$", o.GetName()); err != nil || !ok || o.GetKind() != s.kind {
			continue
		}
		if _, found, err := unstructured.NestedFieldNoCopy(o.Object, s.path...); err != nil || !found {
			continue // a Service of another kind
		}
		if err := unstructured.SetNestedField(o.Object, token(s.value, s.number), s.path...); err != nil {
			return "", err
		}
		used[s.value] = true
	}
	if o.GetKind() == "StatefulSet" {
		claims, _, err := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
		if err != nil || len(claims) != 1 {
			return "", errs.New(errs.Invalid, "%d volume claims, %w", len(claims), err)
		}
		if err := unstructured.SetNestedField(claims[0].(map[string]any), token("redis.storage", false), "spec", "resources", "requests", "storage"); err != nil {
			return "", err
		}
		if err := unstructured.SetNestedSlice(o.Object, claims, "spec", "volumeClaimTemplates"); err != nil {
			return "", err
		}
	}
	images(o.Object)
	// Made when the rest is there, in this order, and never taken away with it: the devices' authority and people's data.
	if weight := map[string]string{"Job": "0", "Gateway": "1"}[o.GetKind()]; weight != "" {
		a := o.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a["helm.sh/hook"], a["helm.sh/hook-weight"] = "post-install", weight
		o.SetAnnotations(a)
	}
	s, err := text(o)
	if err != nil {
		return "", err
	}
	if strings.Contains(s, "{{") {
		return "", errs.New(errs.Invalid, "there is {{ in it, which Helm would read")
	}
	s = regexp.MustCompile(`'@number ([A-Za-z.]+)@'`).ReplaceAllString(s, `{{ .Values.$1 }}`)
	s = regexp.MustCompile(`'@image ([a-z]+)@'`).ReplaceAllString(s, `{{ printf "%s$1:%s" .Values.image.prefix .Values.image.tag | printf "%q" }}`)
	s = regexp.MustCompile(`'@([A-Za-z.]+)@'`).ReplaceAllString(s, `{{ printf "%q" .Values.$1 }}`)
	if o.GetKind() == "Broker" {
		class := "{{- if .Values.broker.class }}\n    eventing.knative.dev/broker.class: {{ printf \"%q\" .Values.broker.class }}\n{{- end }}\n"
		if len(o.GetAnnotations()) == 0 {
			return "", errs.New(errs.Unsupported, "the Broker has no annotations to which its class could be added")
		}
		s = strings.Replace(s, "  annotations:\n", "  annotations:\n"+class, 1)
		s = strings.Replace(s, "spec:\n", "spec:\n{{- if .Values.broker.config }}\n  config:\n{{- range $k, $v := .Values.broker.config }}\n    {{ $k }}: {{ printf \"%q\" $v }}\n{{- end }}\n{{- end }}\n", 1)
	}
	return s, nil
}

// images puts tokens in the place of our images, and of Redis'.
func images(v any) {
	switch v := v.(type) {
	case map[string]any:
		if s, ok := v["image"].(string); ok {
			if m := own.FindStringSubmatch(s); m != nil {
				v["image"] = "@image " + m[1] + "@"
			} else if strings.HasPrefix(s, "docker.io/library/redis:") {
				v["image"] = token("redis.image", false)
			}
		}
		for _, e := range v {
			images(e)
		}
	case []any:
		for _, e := range v {
			images(e)
		}
	}
}

func text(o *unstructured.Unstructured) (string, error) {
	b, err := yaml.Marshal(o.Object)
	if err != nil {
		return "", errs.New(errs.Internal, "%w", err)
	}
	return string(b), nil
}

// write makes the folder hold exactly the files.
func write(dir string, files map[string]string) error {
	for _, sub := range []string{"templates", "crds"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return errs.New(errs.Unavailable, "%w", err)
		}
	}
	for name, s := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return errs.New(errs.Unavailable, "%w", err)
		}
		if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
			return errs.New(errs.Unavailable, "%w", err)
		}
	}
	return nil
}
