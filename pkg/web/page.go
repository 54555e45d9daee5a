package web

import (
	"embed"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// pageRules restrict the page to resources of this origin and forbid frames. The
// page contains no markup from others; the rules make sure of that.
const pageRules = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handlePage serves the page for people: boards, jobs, an upload with the token,
// and the published videos. Its files are public; what they show is not.
func handlePage(mux *http.ServeMux) {
	for path, name := range map[string]string{
		"/{$}": "index.html", "/page.js": "page.js", "/page.css": "page.css",
		"/login": "login.html", "/setup": "login.html", "/login.js": "login.js",
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", pageRules)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache") // the page changes with pibootd's version
			http.ServeFileFS(w, r, pageFiles, "page/"+name)
		})
	}
}
