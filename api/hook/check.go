package hook

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// ParseURL reads the URL of a Webhook, as far as it can be judged before a name is resolved: the sender judges the
// address that it dials again. allowPrivate is the Webhook's own word. Errors: Invalid.
func ParseURL(text string, allowPrivate bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errs.New(errs.Invalid, "%q is no URL that can be posted to", text).WithMend("https://host/path")
	case u.User != nil:
		return nil, errs.New(errs.Invalid, "a URL with a user or a password in it: everybody who may read the Webhook reads them").WithMend("the key authorization of the Secret is sent as the header of that name")
	case u.Fragment != "":
		return nil, errs.New(errs.Invalid, "a fragment (#) is never sent")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errs.New(errs.Invalid, "the scheme %q is not https", u.Scheme)
	case u.Scheme == "http" && !allowPrivate:
		return nil, errs.New(errs.Invalid, "https is needed; http is for private addresses, with allowPrivate")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, errs.New(errs.Invalid, "port %s: there are 1 to 65535", p)
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return nil, errs.New(errs.Invalid, "the port is missing behind the colon")
	}
	return u, literal(u, allowPrivate)
}

// literal judges a host that is an address itself.
func literal(u *url.URL, allowPrivate bool) error {
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		if net.ParseIP(u.Hostname()) == nil && numeric(u.Hostname()) {
			return errs.New(errs.Invalid, "%s is neither a name nor an address", u.Hostname())
		}
		return nil
	}
	a = a.WithZone("").Unmap()
	private := a.IsPrivate() || a.IsLoopback()
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return errs.New(errs.Invalid, "%s is never dialled: nobody's, everybody's, or a cloud's metadata service", a)
	case private && !allowPrivate:
		return errs.New(errs.Invalid, "%s is a private address", a).WithMend("allowPrivate: true, on a platform that permits it")
	case !private && u.Scheme == "http":
		return errs.New(errs.Invalid, "%s is a public address: https is needed", a)
	}
	return nil
}

// numeric: a host like 127.1 or 2130706433, which some resolvers take for an address.
func numeric(host string) bool {
	last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]
	_, err := strconv.ParseUint(strings.TrimSuffix(last, "."), 0, 64)
	return err == nil
}

// CheckPath says whether a path (HookCondition.path) can lead anywhere. Errors: Invalid.
func CheckPath(path string) error {
	if name, is := strings.CutPrefix(path, "header."); is {
		switch {
		case name == "":
			return errs.New(errs.Invalid, "header. needs a name behind it")
		case secretName.MatchString(name):
			return errs.New(errs.Invalid, "header %s is never read: it looks like one that holds a secret", name)
		}
		return nil
	}
	_, err := parsePath(path)
	return err
}

// CheckText says whether a value of HookRule.data can be filled in. Errors: Invalid.
func CheckText(text string) error {
	if strings.HasPrefix(text, "$") || strings.HasPrefix(text, "header.") {
		return CheckPath(text)
	}
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 {
			return nil
		}
		text = text[i:]
		if !strings.HasPrefix(text, "{$") && !strings.HasPrefix(text, "{header.") {
			text = text[1:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if end < 0 {
			return errs.New(errs.Invalid, "%q has no end of {", text)
		}
		if err := CheckPath(text[1:end]); err != nil {
			return err
		}
		text = text[end+1:]
	}
}
