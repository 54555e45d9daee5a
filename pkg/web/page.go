package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// bundle is the dashboard as pkg/web/ui/build writes it, each file compressed. It
// has nothing but README if pibootd was built without.
//
//go:embed ui/dist
var bundle embed.FS

// noPage is what people see of a pibootd that was built without the dashboard.
//
//go:embed nopage.html
var noPage []byte

// views are the addresses that the dashboard shows something at.
var views = []string{
	"/{$}", "/boards", "/boards/{rest...}", "/jobs", "/jobs/{rest...}", "/videos", "/videos/{rest...}", "/streams", "/streams/{rest...}", "/templates", "/templates/{rest...}", "/doctor",
	"/settings", "/submit", "/login", "/setup",
}

// pageRules restrict the page to resources of this origin and forbid frames. The
// page contains no markup from others; the rules make sure of that. A player hands
// its browser what it has fetched as a blob.
const pageRules = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob: data:; img-src 'self' data:; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handlePage serves the dashboard. Its files are public; what they show is not.
func handlePage(mux *http.ServeMux) {
	for _, view := range views {
		mux.HandleFunc("GET "+view, servePage)
	}
	mux.HandleFunc("GET /assets/{name}", serveAsset)
	mux.HandleFunc("GET /docs/{name...}", serveDocs)
}

func servePage(w http.ResponseWriter, r *http.Request) {
	page, err := fs.ReadFile(bundle, "ui/dist/index.html.gz")
	if errors.Is(err, fs.ErrNotExist) {
		setPageHeader(w.Header(), "text/html; charset=utf-8")
		_, _ = w.Write(noPage) // the client may be gone
		return
	}
	// The page changes with pibootd's version.
	w.Header().Set("Cache-Control", "no-cache")
	setPageHeader(w.Header(), "text/html; charset=utf-8")
	sendCompressed(w, r, page)
}

// serveAsset serves a file whose name changes with its content.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	content, err := fs.ReadFile(bundle, path.Join("ui/dist/assets", name+".gz"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	setPageHeader(w.Header(), mime.TypeByExtension(path.Ext(name)))
	sendCompressed(w, r, content)
}

// serveDocs serves a page of the documentation, as packaging/site writes it.
func serveDocs(w http.ResponseWriter, r *http.Request) {
	name := cmp.Or(r.PathValue("name"), "index.html")
	content, err := fs.ReadFile(bundle, "ui/dist/docs/"+name+".gz") // which refuses ".." in a name
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	setPageHeader(w.Header(), cmp.Or(mime.TypeByExtension(path.Ext(name)), "text/plain; charset=utf-8"))
	sendCompressed(w, r, content)
}

func setPageHeader(h http.Header, kind string) {
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", pageRules)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Accept-Encoding")
}

// sendCompressed sends content, which is compressed, so or as the client needs it.
func sendCompressed(w http.ResponseWriter, r *http.Request, content []byte) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content) // the client may be gone
		return
	}
	plain, err := gzip.NewReader(bytes.NewReader(content))
	if err == nil {
		_, _ = io.Copy(w, plain)
	}
}
