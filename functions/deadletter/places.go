package deadletter

import (
	"net/url"
	"slices"
	"strings"
)

// Places are the destinations that are ours: Services of our own functions in our own namespace.
type Places struct {
	Namespace string   // of the platform: wasmbed-system
	Domain    string   // of the cluster: cluster.local
	Functions []string // names of their Services
}

// Lines of letters whose destination is none of ours: an address of somebody else, or none that is told.
const (
	Elsewhere = "elsewhere"
	Unknown   = "unknown"
)

// trigger is the line that a letter for dest belongs to. There are few of them, whatever letters say.
func (p Places) trigger(dest string) string {
	switch name := p.function(dest); {
	case dest == "":
		return p.Namespace + "/" + Unknown
	case name != "":
		return p.Namespace + "/" + name
	}
	return p.Namespace + "/" + Elsewhere
}

func (p Places) triggers() []string {
	var out []string
	for _, f := range p.Functions {
		out = append(out, p.Namespace+"/"+f)
	}
	return out
}

// function is the function whose Service a URL is, at its root; "" when it is none of ours.
func (p Places) function(dest string) string {
	u, err := url.Parse(dest)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.Port() != "" || u.Path != "" && u.Path != "/" {
		return ""
	}
	name, rest, ok := strings.Cut(strings.ToLower(u.Hostname()), ".")
	if !ok || !slices.Contains(p.Functions, name) {
		return ""
	}
	switch rest {
	case p.Namespace, p.Namespace + ".svc", p.Namespace + ".svc." + p.Domain:
		return name
	}
	return ""
}

// address is where a function of ours is. It is made of what we know, and of nothing that a letter says.
func (p Places) address(function string) string {
	return "http://" + function + "." + p.Namespace + ".svc." + p.Domain + "/"
}
