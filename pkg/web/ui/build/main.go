// Command build makes the dashboard that pibootd embeds: it fetches the npm packages
// of package-lock.json and bundles pkg/web/ui/src into pkg/web/ui/dist by esbuild.
// With -serve it shows the sources as they are while they change, before a daemon
// that runs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	dir := flags.String("dir", "pkg/web/ui", "`directory` of package.json")
	daemon := flags.String("serve", "", "serve the sources on -listen, and all else from the daemon at this `URL`")
	listen := flags.String("listen", "127.0.0.1:5173", "`address` for -serve")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := os.Chdir(*dir)
	if err == nil {
		err = fetchPackages(ctx, ".")
	}
	if err == nil && *daemon != "" {
		err = serve(ctx, *listen, *daemon)
	} else if err == nil {
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building the dashboard:", err)
		return 1
	}
	return 0
}

func build() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	return bundle(dir)
}
