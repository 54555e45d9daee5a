package daemon

import (
	"context"
	"fmt"
	"io"
	"slices"

	"pibootd/pkg/config"
	"pibootd/pkg/web"
)

// welcome says how to make the admin's password while there is none, and what an
// upgrade has closed.
func (d *daemon) welcome(ctx context.Context, terminal io.Writer) error {
	if d.tls.fingerprint != "" {
		d.log.Info("HTTPS", "component", "web", "addr", d.network.Addr(), "port", d.tlsPort(), "sha256", d.tls.fingerprint)
	}
	has, err := d.web.Access.HasPassword(ctx)
	if err != nil || has {
		return err
	}
	if err := d.sayWhatIsClosed(ctx); err != nil {
		return err
	}
	link, err := d.web.NewSetupLink(ctx)
	if err != nil {
		return err
	}
	d.log.Info("there is no admin password yet; make it in a browser by this link, within an hour", "component", "web", "url", link.URL)
	if terminal == nil {
		return nil
	}
	text := fmt.Sprintf("\nTo make the admin password, open this link within an hour (pibootd admin-link makes a new one):\n\n  %s\n", link.URL)
	if d.tls.selfSigned {
		text += fmt.Sprintf("\nThe browser will warn of a self-signed certificate. Its SHA-256 fingerprint is\n\n  %s\n", d.tls.fingerprint)
	}
	_, err = io.WriteString(terminal, text+"\n")
	return err
}

// sayWhatIsClosed logs, at the first start of a version with logins, what an earlier
// version showed to everybody.
func (d *daemon) sayWhatIsClosed(ctx context.Context) error {
	fresh, err := d.web.Access.IsNew(ctx)
	if err != nil || !fresh || d.cfg.HTTP.Public == config.PublicRead {
		return err
	}
	jobs, err := d.queue.Jobs(ctx)
	if err != nil || len(jobs) == 0 && len(d.state.registry.All()) == 0 {
		return err
	}
	d.log.Warn("the page and the API of the HTTP port need a login now; http.public = \"read\" opens reading again",
		"component", "web", "port", d.cfg.HTTP.Port, "still_public", d.stillPublic())
	return nil
}

// stillPublic lists what needs no login.
func (d *daemon) stillPublic() []string {
	var open []string
	for what, is := range map[string]bool{"/media": d.web.Public.Media, "/metrics": d.web.Public.Metrics, web.ProgramPath: d.web.Public.Program} {
		if is {
			open = append(open, what)
		}
	}
	slices.Sort(open)
	return open
}
