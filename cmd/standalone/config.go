package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Config is the command's environment, and its manual.
type Config struct {
	Dir            string        `default:".wasmbed" desc:"State folder: the Kubernetes API's store, Redis' data, keys, devices, logs. Another folder is another platform."`
	RedisURL       string        `envconfig:"REDIS_URL" desc:"Redis to use (REDIS_URL does as well). Default: a redis-server found on PATH is started, with every write on disk before it counts; without one, an in-process one that forgets."`
	Instance       string        `default:"standalone" desc:"Name of the gateway process."`
	Advertise      string        `desc:"host:port that devices dial. Default: where the gateway listens."`
	TrustDomain    string        `split_words:"true" default:"wasmbed.local" desc:"SPIFFE trust domain of the devices' certificates."`
	Boards         string        `default:"Mps2An385,Stm32F746gDisco,FrdmK64f" desc:"Boards of the host devices to run, one device each, separated by commas; empty: none."`
	Pairing        time.Duration `default:"10m" desc:"How long unknown devices may enroll after the first start. They are let in without being asked about."`
	Sample         bool          `default:"true" desc:"Deploy the sample application at the first start."`
	Bin            string        `desc:"Folder of the programs kubeapi, device and provisioner. Default: where this program is."`
	Emulation      string        `envconfig:"EMULATION" desc:"Emulated boards to make at the first start beside the host devices: qemu (one on Ethernet, one on a serial line), renode, or both with a comma (EMULATION does as well). Empty: none. Devices that ask for emulation get it anyway."`
	Firmware       string        `default:"build/firmware" desc:"Folder of the firmware images of emulated boards; make firmware BOARD=… writes them."`
	WebhookPrivate bool          `split_words:"true" default:"true" desc:"Webhooks may go to loopback and private addresses when they say allowPrivate. Set it to false where others than you may make webhooks."`
	AssemblyScript string        `envconfig:"COMPILE_ASSEMBLYSCRIPT" default:"firmware/modules/node_modules/assemblyscript" desc:"Folder of npm's package assemblyscript, to compile it for people."`
	OIDC           OIDC
	Patience       time.Duration `default:"60s" desc:"How long to wait for everything to be ready before saying what is not."`

	Listen struct {
		Dashboard   string `default:"127.0.0.1:3000" desc:"Address of the dashboard. Port 0, here and below: any, and the same at the next start."`
		API         string `default:"127.0.0.1:3001" desc:"Address of the REST API."`
		HTTP        string `default:"127.0.0.1:8080" desc:"Address of the gateway's health, metrics and drain."`
		TLS         string `default:"127.0.0.1:8081" desc:"Address for devices. :8081 lets in those of the network too."`
		Kubernetes  string `default:"127.0.0.1:0" desc:"Address of the Kubernetes API."`
		Broker      string `default:"127.0.0.1:0" desc:"Address of the broker's ingress. Loopback: whoever reaches it can say anything."`
		Functions   string `default:"127.0.0.1:0" desc:"Address of the functions. Loopback, as the broker's."`
		Provisioner string `default:"127.0.0.1:0" desc:"Address of the provisioner's consoles and metrics."`
		Redis       string `default:"127.0.0.1:0" desc:"Address of the Redis that is started."`
	}
}

// OIDC is an issuer whose tokens the embedded Kubernetes API takes beside its own.
type OIDC struct {
	Issuer        string `desc:"URL of an OpenID Connect issuer, https, whose tokens the embedded Kubernetes API takes: whoever has one is a user there, and RBAC says what they may. WASMBED_OIDC_CLIENT_ID goes with it."`
	ClientID      string `envconfig:"CLIENT_ID" desc:"Audience that the tokens must have."`
	UsernameClaim string `split_words:"true" default:"sub" desc:"Claim that is the user's name, prefixed with the issuer and # unless it is email."`
	GroupsClaim   string `split_words:"true" default:"groups" desc:"Claim that names the user's groups, prefixed with oidc:."`
	CA            string `desc:"File with the certificates that the issuer's is signed by; empty: the system's."`
}

// args are the issuer's for the program kubeapi.
func (o *OIDC) args() []string {
	if o.Issuer == "" {
		return nil
	}
	args := []string{"--oidc-issuer", o.Issuer, "--oidc-client-id", o.ClientID, "--oidc-username-claim", o.UsernameClaim, "--oidc-groups-claim", o.GroupsClaim}
	if o.CA != "" {
		args = append(args, "--oidc-ca", o.CA)
	}
	return args
}

// check refuses an issuer that cannot work. Errors: Invalid.
func (o *OIDC) check() error {
	if o.Issuer == "" {
		return nil
	}
	if u, err := url.Parse(o.Issuer); err != nil || u.Scheme != "https" || u.Host == "" {
		return errs.New(errs.Invalid, "WASMBED_OIDC_ISSUER: %q is not an https URL", o.Issuer)
	}
	if o.ClientID == "" {
		return errs.New(errs.Invalid, "WASMBED_OIDC_CLIENT_ID is missing: the audience of the issuer's tokens")
	}
	if o.CA != "" {
		if _, err := os.Stat(o.CA); err != nil {
			return errs.New(errs.Invalid, "WASMBED_OIDC_CA: %w", err)
		}
		abs, err := filepath.Abs(o.CA)
		if err != nil {
			return errs.New(errs.Invalid, "WASMBED_OIDC_CA: %w", err)
		}
		o.CA = abs // the program changes its folder
	}
	return nil
}

// boards returns the boards of the host devices.
func (c *Config) boards() []string {
	var out []string
	for _, b := range strings.Split(c.Boards, ",") {
		if b = strings.TrimSpace(b); b != "" {
			out = append(out, b)
		}
	}
	return out
}

// program returns the path of a program that must be beside this one.
func (c *Config) program(name string) (string, error) {
	dir := c.Bin
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", errs.New(errs.Internal, "where is this program? %w", err)
		}
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		dir = filepath.Dir(self)
	}
	path := filepath.Join(dir, name)
	if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
		return "", errs.New(errs.NotFound, "the program %s is not in %s", name, dir).WithMend("make build makes it; WASMBED_BIN says where it is")
	}
	return path, nil
}

// check refuses settings that cannot work, before anything is started.
func (c *Config) check() error {
	for _, b := range c.emulation() {
		if b != v1alpha1.BackendQEMU && b != v1alpha1.BackendRenode {
			return errs.New(errs.Invalid, "WASMBED_EMULATION: %q is neither qemu nor renode", b)
		}
	}
	for _, a := range []struct{ name, value string }{
		{"DASHBOARD", c.Listen.Dashboard}, {"API", c.Listen.API}, {"HTTP", c.Listen.HTTP}, {"TLS", c.Listen.TLS},
		{"KUBERNETES", c.Listen.Kubernetes}, {"BROKER", c.Listen.Broker}, {"FUNCTIONS", c.Listen.Functions}, {"PROVISIONER", c.Listen.Provisioner}, {"REDIS", c.Listen.Redis},
	} {
		if _, err := net.ResolveTCPAddr("tcp", a.value); err != nil {
			return errs.New(errs.Invalid, "WASMBED_LISTEN_%s: %w", a.name, err)
		}
	}
	if c.Advertise != "" {
		if _, _, err := net.SplitHostPort(c.Advertise); err != nil {
			return errs.New(errs.Invalid, "WASMBED_ADVERTISE: %w", err)
		}
	}
	if err := c.OIDC.check(); err != nil {
		return err
	}
	if c.Dir == "" {
		return errs.New(errs.Invalid, "WASMBED_DIR is empty")
	}
	return nil
}

// advertised returns the host:port that devices dial, given where the gateway listens.
func (c *Config) advertised(listen string) string {
	if c.Advertise != "" {
		return c.Advertise
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
