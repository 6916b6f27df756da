package api

import (
	"embed"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"
)

// page is the page to try the API at: static files that know nothing, and ask as whoever reads them.
//
//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page's own script, style and questions through, and nothing else.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsPage serves the page. It needs no token: there is nothing in it but what is in the source, and it cannot read the
// contract without one.
func docsPage(r *httprouter.Router) {
	for path, file := range map[string]struct{ name, kind string }{
		"/api/v1/docs":          {"index.html", "text/html; charset=utf-8"},
		"/api/v1/docs/page.js":  {"page.js", "text/javascript; charset=utf-8"},
		"/api/v1/docs/page.css": {"page.css", "text/css; charset=utf-8"},
	} {
		body, err := pageFiles.ReadFile("page/" + file.name)
		r.GET(path, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
			if err != nil {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			h := w.Header()
			h.Set("Content-Type", file.kind)
			h.Set("Content-Security-Policy", pagePolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("X-Frame-Options", "DENY")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Cache-Control", "no-cache")
			if strings.HasSuffix(file.name, ".html") {
				h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
			}
			_, _ = w.Write(body) // the reader may be gone
		})
	}
}
