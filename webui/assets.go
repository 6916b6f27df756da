package webui

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// dist is what `make build` makes of app/. In a checkout that was never built it holds .gitkeep alone.
//
//go:embed all:dist
var dist embed.FS

// nonceMark stands in index.html where each answer gets a number of its own.
const nonceMark = "__CSP_NONCE__"

const notBuilt = "The dashboard is not built: install Node.js 20 with npm, run `make build`, and start again. REST API, CLI and kubectl work without it."

// asset is one file of the app, ready to be sent.
type asset struct {
	body, packed []byte // packed: gzip, nil when it is no smaller
	kind, tag    string
}

// loadAssets reads the built app. Without one the map is empty.
func loadAssets(files fs.FS) (map[string]asset, error) {
	out := map[string]asset{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Base(name) == ".gitkeep" {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		a := asset{body: b, kind: mime.TypeByExtension(path.Ext(name)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		if a.kind == "" {
			a.kind = "application/octet-stream"
		}
		if compressible(a.kind) && name != index {
			if a.packed, err = pack(b); err != nil {
				return err
			}
		}
		out[name] = a
		return nil
	})
	if err != nil {
		return nil, errs.New(errs.Internal, "read the built dashboard: %w", err)
	}
	if _, ok := out[index]; !ok {
		return map[string]asset{}, nil
	}
	return out, nil
}

func compressible(kind string) bool {
	for _, k := range []string{"text/", "javascript", "json", "svg"} {
		if strings.Contains(kind, k) {
			return true
		}
	}
	return false
}

func pack(b []byte) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if buf.Len() >= len(b) {
		return nil, nil
	}
	return buf.Bytes(), nil
}

const index = "index.html"

// app serves the built files; every other path is one of the app's own pages.
func (s *Server) app(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "there is nothing to change here", http.StatusMethodNotAllowed)
		return
	}
	if len(s.assets) == 0 {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, notBuilt, http.StatusServiceUnavailable)
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	a, ok := s.assets[name]
	switch {
	case name == index || !ok && strings.HasPrefix(name, "assets/"):
		http.NotFound(w, r) // a file of another build: a page in its place would only confuse
	case ok:
		s.file(w, r, name, a)
	default:
		s.page(w, r)
	}
}

// page sends index.html with a fresh nonce for the style elements that components make.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Security-Policy", policy("'self' 'nonce-"+nonce+"'"))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		_, _ = w.Write(bytes.ReplaceAll(s.assets[index].body, []byte(nonceMark), []byte(nonce))) // the reader may be gone
	}
}

func (s *Server) file(w http.ResponseWriter, r *http.Request, name string, a asset) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // their names carry their digests
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := a.body
	if a.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", strings.TrimSuffix(a.tag, `"`)+`-gz"`)
			body = a.packed
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
