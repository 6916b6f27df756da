package compile

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"wasmbed.io/wasmbed/api/source"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/ports"
)

// Config is the environment of the compile service, prefix WASMBED_, and its manual.
type Config struct {
	Listen         string        `envconfig:"LISTEN" default:":8085" desc:"Address to serve on."`
	TokenFile      string        `envconfig:"COMPILE_TOKEN_FILE" desc:"File with the token that callers show, 16 bytes or more: a Secret that the REST API has, too. It is read anew with each request, so that it may be rotated."`
	Cache          string        `envconfig:"COMPILE_CACHE" desc:"Folder for what was compiled; it may be emptied at any time. Empty: nothing is kept."`
	AssemblyScript string        `envconfig:"COMPILE_ASSEMBLYSCRIPT" desc:"Folder of the assemblyscript package of npm. Empty: asc is looked for on PATH."`
	Grace          time.Duration `envconfig:"GRACE" default:"35s" desc:"How long compilations under way may take when the process is told to stop."`
}

// Run serves compilations until ctx ends.
func Run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	if cfg.TokenFile == "" {
		return errs.New(errs.Invalid, "WASMBED_COMPILE_TOKEN_FILE is not set").WithMend("mount a Secret; no door is without a lock")
	}
	if _, err := readToken(cfg.TokenFile); err != nil {
		return err
	}
	f := New(Deps{Cache: cfg.Cache, AssemblyScript: cfg.AssemblyScript, Log: log})
	l, err := ports.Listen(cfg.Listen, "")
	if err != nil {
		return errs.New(errs.Unavailable, "WASMBED_LISTEN: %w", err)
	}
	srv := &http.Server{
		Handler: Handler(f, func() (string, error) { return readToken(cfg.TokenFile) }), ReadHeaderTimeout: readTime, ReadTimeout: readTime,
		WriteTimeout: serveTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
	}
	log.Info("serves", "address", l.Addr().String())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return errs.New(errs.Unavailable, "compile: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return srv.Close()
	}
	return nil
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", errs.New(errs.Unavailable, "the compile service's token: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if len(t) < minToken {
		return "", errs.New(errs.Invalid, "the compile service's token in %s has %d bytes, and needs %d", file, len(t), minToken)
	}
	return t, nil
}

// Handler serves a compiler over HTTP, to callers that show the token: POST /compile, GET /languages, GET /templates. GET
// /healthz needs none. An error is {"code", "message", "mend"} with the status of its code.
func Handler(c source.Compiler, token func() (string, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	route := func(pattern string, fn func(w http.ResponseWriter, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := shown(r, token)
			var out any
			if err == nil {
				out, err = fn(w, r)
			}
			if err != nil {
				refuse(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out) // the caller may be gone
		})
	}
	route("POST /compile", func(w http.ResponseWriter, r *http.Request) (any, error) {
		var req source.Request
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		d.DisallowUnknownFields()
		if err := d.Decode(&req); err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				return nil, errs.New(errs.TooLarge, "a request of more than %d bytes", maxRequest)
			}
			return nil, errs.New(errs.Invalid, "the body is no request: %w", err)
		}
		return c.Compile(r.Context(), req)
	})
	route("GET /languages", func(_ http.ResponseWriter, r *http.Request) (any, error) { return c.Languages(r.Context()) })
	route("GET /templates", func(_ http.ResponseWriter, r *http.Request) (any, error) { return c.Templates(r.Context()) })
	return mux
}

// shown checks the caller's token. The digests are compared, so that not even the length tells.
func shown(r *http.Request, token func() (string, error)) error {
	want, err := token()
	if err != nil {
		return err
	}
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	if !ok || want == "" || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return errs.New(errs.Unauthenticated, "the compile service's token is missing or wrong")
	}
	return nil
}

// wireError is an error between the service and its client.
type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"`
}

func refuse(w http.ResponseWriter, err error) {
	e := wireError{Code: string(errs.CodeOf(err)), Message: err.Error()}
	var ours *errs.Error
	if errors.As(err, &ours) {
		e.Mend = ours.Mend
		bare := *ours
		bare.Mend = ""
		e.Message = bare.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(errs.HTTPStatus(err))
	_ = json.NewEncoder(w).Encode(e) // the caller may be gone
}

// Client compiles at a service elsewhere.
type Client struct {
	base  string
	token func() (string, error)
	hc    *http.Client
}

var _ source.Compiler = (*Client)(nil)

// NewClient returns a client of the service at url, whose token is in a file.
func NewClient(url, tokenFile string) *Client {
	return &Client{base: strings.TrimRight(url, "/"), token: func() (string, error) { return readToken(tokenFile) },
		hc: &http.Client{Timeout: serveTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Compile implements source.Compiler.
func (c *Client) Compile(ctx context.Context, r source.Request) (out source.Result, err error) {
	return out, c.do(ctx, http.MethodPost, "/compile", r, &out)
}

// Languages implements source.Compiler.
func (c *Client) Languages(ctx context.Context) (out []source.Language, err error) {
	return out, c.do(ctx, http.MethodGet, "/languages", nil, &out)
}

// Templates implements source.Compiler.
func (c *Client) Templates(ctx context.Context) (out []source.Template, err error) {
	return out, c.do(ctx, http.MethodGet, "/templates", nil, &out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	body := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return errs.New(errs.Invalid, "compile: %w", err)
		}
		body = string(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return errs.New(errs.Invalid, "compile service: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.hc.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errs.New(errs.Deadline, "the compile service did not answer in time: %w", err)
		}
		return errs.New(errs.Unavailable, "the compile service does not answer: %w", err).WithMend("is its Deployment ready? WASMBED_COMPILE_URL says where it is looked for")
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return errs.New(errs.Unavailable, "the compile service's answer broke: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, out); err != nil {
			return errs.New(errs.Internal, "the compile service's answer cannot be read: %w", err)
		}
		return nil
	}
	var e wireError
	if json.Unmarshal(b, &e) != nil || e.Message == "" {
		return errs.New(errs.FromHTTP(resp.StatusCode), "the compile service says %s", resp.Status)
	}
	if errs.Code(e.Code) == errs.Unauthenticated { // ours, not the caller's
		return errs.New(errs.Unavailable, "the compile service does not know the REST API's token").WithMend("both mount the same Secret")
	}
	return &errs.Error{Code: errs.Code(e.Code), Message: e.Message, Mend: e.Mend}
}
