package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/internal/pause"
	"pibootd/pkg/operation"
	"pibootd/pkg/web"
)

// How a command follows what a daemon on another machine makes.
const (
	askEvery     = 500 * time.Millisecond
	maxUnheard   = time.Minute      // without an answer; the daemon may restart
	cancelWithin = 10 * time.Second // for the last request of an interrupted command
)

// makeRemotely has the daemon on another machine make a template, and shows its
// progress and the result as if it were made here.
func makeRemotely(c *cli.Context, std streams, m *meter, t web.NewTemplate) error {
	op, err := client(c).MakeTemplate(c.Context, t)
	if err == nil {
		op, err = awaitOperation(c, m, op)
	}
	m.clear()
	if err != nil {
		return err
	}
	if op.State != operation.Done {
		return fmt.Errorf("template %s %s: %s", op.Name, op.State, orNone(op.Error, op.Error == ""))
	}
	made, err := client(c).Template(c.Context, op.Template)
	if err != nil {
		return err
	}
	return printTemplate(c, std, made.Template, op.Changes)
}

// awaitOperation shows how far an operation is until it has ended. To interrupt the
// command cancels the operation; to lose the daemon does not.
func awaitOperation(c *cli.Context, m *meter, op operation.Operation) (operation.Operation, error) {
	heard := time.Now()
	for !op.State.Ended() {
		if !c.Bool("json") {
			m.report(stepOf(op), op.Done, op.Total)
		}
		if !pause.For(c.Context, askEvery) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), cancelWithin)
			defer cancel()
			_, err := client(c).CancelOperation(ctx, op.ID)
			return op, errors.Join(context.Cause(c.Context), err)
		}
		next, err := client(c).Operation(c.Context, op.ID)
		switch {
		case err == nil:
			op, heard = next, time.Now()
		case !isNotRunning(err):
			return op, err
		case time.Since(heard) > maxUnheard:
			return op, hintedError{fmt.Errorf("making template %s: %w", op.Name, err), "the template is made all the same; pibootd template list shows it in the end"}
		}
	}
	return op, nil
}

// stepOf is what an operation is at.
func stepOf(op operation.Operation) string {
	switch {
	case op.Step != "":
		return op.Step
	case op.State == operation.Waiting:
		return "waiting for its turn"
	}
	return "starting"
}

// importRemotely sends an image or an archive to the daemon on another machine, which
// makes a template of it. A name that does not exist here is a path in its media share.
func importRemotely(c *cli.Context, std streams, t web.NewTemplate, source string) (err error) {
	if t.AuthorizedKeys, err = authorizedKeys(c); err != nil {
		return err
	}
	order := operation.Order{Name: t.Name, Recipe: t.Recipe, AuthorizedKeys: t.AuthorizedKeys}
	if err := order.Check(); err != nil { // before much is sent
		return err
	}
	m := newMeter(std)
	file, err := os.Open(source)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(source) {
		t.Path = filepath.ToSlash(filepath.Clean(source))
		return makeRemotely(c, std, m, t)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer file.Close()
	if t.Upload, err = sendImage(c, m, file); err != nil {
		return err
	}
	err = makeRemotely(c, std, m, t)
	if err != nil && !isNotRunning(err) { // else it may be in use
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), cancelWithin)
		defer cancel()
		_ = client(c).RemoveUpload(ctx, t.Upload) // or else it expires
	}
	return err
}

// sendImage uploads a file for a template.
func sendImage(c *cli.Context, m *meter, file *os.File) (id string, err error) {
	defer m.clear()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", hintedError{fmt.Errorf("import: %s is not a regular file and cannot be uploaded", printable(file.Name())),
			"make an archive of a directory first: tar -C DIRECTORY --numeric-owner --xattrs -czf root.tar.gz ."}
	}
	sent := func(bytes int64) {
		if !c.Bool("json") {
			m.report("upload", bytes, info.Size())
		}
	}
	id, err = client(c).UploadFile(c.Context, web.LocalFile{Name: uploadName(file.Name()), ForTemplate: true, File: file, SizeBytes: info.Size(), Sent: sent})
	if err != nil {
		return "", fmt.Errorf("uploading %s: %w", printable(file.Name()), err)
	}
	return id, nil
}

// notFor refuses flags about this machine with a daemon on another one.
func notFor(c *cli.Context, flags ...string) error {
	for _, flag := range flags {
		if c.IsSet(flag) {
			return usageError{fmt.Errorf("--%s with --server: the daemon there uses its own", flag)}
		}
	}
	return nil
}
