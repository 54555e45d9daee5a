package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/evanw/esbuild/pkg/api"
)

// serve bundles the sources anew whenever they change, and serves them. The API and
// the media come from a daemon.
func serve(ctx context.Context, listen, daemon string) error {
	behind, err := url.Parse(daemon)
	if err != nil || behind.Host == "" {
		return fmt.Errorf("daemon %q; want a URL such as http://nas:8080", daemon)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	o := options(dir)
	o.EntryNames, o.Outdir, o.Sourcemap = "[name]", "dist/dev", api.SourceMapInline
	o.MinifyIdentifiers, o.MinifySyntax, o.MinifyWhitespace = false, false, false
	builder, failed := api.Context(o)
	if failed != nil {
		return failed
	}
	defer builder.Dispose()
	sources := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveSource(w, r, builder) })
	server := &http.Server{Addr: listen, ReadHeaderTimeout: time.Minute, Handler: devHandler(sources, proxyTo(behind))}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Printf("the dashboard of %s is on http://%s/\n", daemon, listen)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// proxyTo passes requests on under the daemon's own name, which it insists on.
func proxyTo(daemon *url.URL) http.Handler {
	return &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(daemon)
		if r.Out.Header.Get("Origin") != "" {
			r.Out.Header.Set("Origin", daemon.Scheme+"://"+daemon.Host)
		}
	}}
}

func devHandler(sources, daemon http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/media/") {
			daemon.ServeHTTP(w, r)
			return
		}
		sources.ServeHTTP(w, r)
	})
}

// serveSource answers with a file of a fresh bundle, or with the page.
func serveSource(w http.ResponseWriter, r *http.Request, builder api.BuildContext) {
	if !strings.Contains(r.URL.Path, ".") {
		http.ServeFile(w, r, "src/index.html")
		return
	}
	built := builder.Rebuild()
	for _, message := range built.Errors {
		http.Error(w, message.Text, http.StatusInternalServerError)
		return
	}
	for _, file := range built.OutputFiles {
		if strings.HasSuffix(file.Path, "/dev"+r.URL.Path) {
			http.ServeContent(w, r, file.Path, time.Time{}, strings.NewReader(string(file.Contents)))
			return
		}
	}
	http.NotFound(w, r)
}
