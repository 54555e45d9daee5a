package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/urfave/cli/v2"

	"pibootd/internal/durable"
	"pibootd/pkg/backup"
	"pibootd/pkg/config"
)

func backupCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "write everything that pibootd has into one file, while it runs", ArgsUsage: "FILE|DIR|-",
		Description: "In a directory, the file gets a name with the time. It has the database, keys and configuration, the templates, and what each board has changed in its root. It has secrets: keep it as you keep them, or seal it.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "media", Usage: "with the media share"},
			&cli.BoolFlag{Name: "roots", Usage: "with each board's whole root, which can be read without its template; larger"},
			&cli.IntFlag{Name: "keep", Usage: "in a directory, remove all backups of this machine but the last `N`", DefaultText: "remove none"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "seal it for the age `RECIPIENT` age1…; repeatable"},
			passphraseFlag("seal it with the passphrase in `FILE`"),
			backupConfigFlag(), stateDirFlag(),
		},
		Subcommands: []*cli.Command{{
			Name: "verify", Usage: "read a whole backup and tell what is in it", ArgsUsage: "FILE|-",
			Flags:  []cli.Flag{identityFlag(), passphraseFlag("open it with the passphrase in `FILE`"), jsonFlag()},
			Action: func(c *cli.Context) error { return verifyBackup(c, std) },
		}},
		Action: func(c *cli.Context) error { return writeBackup(c, std) },
	}
}

func restoreCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make a state directory out of a backup", ArgsUsage: "FILE|-",
		Description: "The state directory must not exist, or be empty. A backup that is damaged is refused whole. Boards that ran have to be started again afterwards.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "media-dir", Usage: "restore the media share, if the backup has it, to `DIR`", DefaultText: "where it was"},
			&cli.BoolFlag{Name: "resume", Usage: "go on with a restore that was interrupted; no FILE is needed"},
			identityFlag(), passphraseFlag("open it with the passphrase in `FILE`"), stateDirFlag(),
		},
		Action: func(c *cli.Context) error { return restoreBackup(c, std) },
	}
}

// backupMeter shows the progress of a backup or a restore.
func backupMeter(std streams) *meter {
	m := newMeter(std)
	m.describe = func(step string) (string, unit) {
		if step == backup.RootsStep || step == backup.RemakeStep {
			return step, noUnit
		}
		return step, bytesUnit
	}
	return m
}

func passphraseFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "passphrase-file", Usage: usage}
}

func identityFlag() cli.Flag {
	return &cli.StringFlag{Name: "identity", Usage: "open it with the age identities in `FILE`"}
}

func backupConfigFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "back up the configuration `FILE`", Value: installedConfig}
}

// passphrase reads the file that --passphrase-file names; "" without the flag.
func passphrase(c *cli.Context) (string, error) {
	file := c.String("passphrase-file")
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	phrase := strings.TrimRight(string(text), "\r\n")
	if phrase == "" {
		return "", fmt.Errorf("--passphrase-file: %s is empty; want a passphrase", file)
	}
	return phrase, nil
}

// recipients returns those that a backup is sealed for.
func recipients(c *cli.Context) ([]age.Recipient, error) {
	phrase, err := passphrase(c)
	if err != nil {
		return nil, err
	}
	named := c.StringSlice("recipient")
	if phrase != "" && len(named) > 0 {
		return nil, usageError{errors.New("--passphrase-file with --recipient: a backup has one or the other")}
	}
	if phrase != "" {
		one, err := age.NewScryptRecipient(phrase)
		return []age.Recipient{one}, err
	}
	var all []age.Recipient
	for _, name := range named {
		one, err := age.ParseX25519Recipient(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--recipient %s: %w; age-keygen prints one", name, err)}
		}
		all = append(all, one)
	}
	return all, nil
}

// identities returns those that may open a backup.
func identities(c *cli.Context) ([]age.Identity, error) {
	phrase, err := passphrase(c)
	if err != nil {
		return nil, err
	}
	if phrase != "" {
		one, err := age.NewScryptIdentity(phrase)
		return []age.Identity{one}, err
	}
	name := c.String("identity")
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	defer file.Close()
	all, err := age.ParseIdentities(file)
	if err != nil {
		return nil, fmt.Errorf("--identity %s: %w", name, err)
	}
	return all, nil
}

func writeBackup(c *cli.Context, std streams) error {
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	if err := needRoot("a backup has the files of all users of a root"); err != nil {
		return err
	}
	name, older, err := backupName(c, args[0])
	if err != nil {
		return err
	}
	m := backupMeter(std)
	source, err := backupSource(c, std, m)
	if err != nil {
		return err
	}
	header, err := writeTo(name, std, func(w io.Writer) (backup.Header, error) { return source.Write(c.Context, w) })
	m.clear()
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "backed up %s\n", describeBackup(header))
	if len(source.Recipients) == 0 {
		fmt.Fprintln(std.err, "It is not sealed, and has keys and tokens: keep it where only you can read it.")
	}
	return removeAll(older)
}

// backupName returns the name of a new backup, and, with --keep, those in the same directory
// that are not kept once it is there.
func backupName(c *cli.Context, to string) (name string, older []string, err error) {
	info, err := os.Stat(to)
	isDir := err == nil && info.IsDir()
	if !isDir && c.IsSet("keep") {
		return "", nil, usageError{fmt.Errorf("--keep with %s, which is no directory; want one that has the backups", to)}
	}
	if !isDir {
		return to, nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", nil, err
	}
	name = filepath.Join(to, "pibootd-"+host+"-"+time.Now().UTC().Format(backupTime)+backupSuffix)
	if !c.IsSet("keep") {
		return name, nil, nil
	}
	keep := c.Int("keep")
	if keep < 1 {
		return "", nil, usageError{fmt.Errorf("--keep %d; want 1 or more", keep)}
	}
	older, err = olderBackups(to, "pibootd-"+host+"-", keep-1)
	return name, older, err
}

// The time in the name of a backup sorts as text does.
const (
	backupTime   = "20060102-150405"
	backupSuffix = ".backup"
)

// olderBackups returns all but the last keep backups in dir.
func olderBackups(dir, prefix string, keep int) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	var all []string
	for _, entry := range entries {
		at, ours := strings.CutPrefix(strings.TrimSuffix(entry.Name(), backupSuffix), prefix)
		if _, err := time.Parse(backupTime, at); ours && err == nil && entry.Name() != prefix+at {
			all = append(all, filepath.Join(dir, entry.Name()))
		}
	}
	return all[:max(0, len(all)-keep)], nil
}

func removeAll(files []string) error {
	var failed []error
	for _, file := range files {
		failed = append(failed, os.Remove(file))
	}
	return errors.Join(failed...)
}

func backupSource(c *cli.Context, std streams, m *meter) (backup.Source, error) {
	to, err := recipients(c)
	if err != nil {
		return backup.Source{}, err
	}
	state, err := filepath.Abs(c.String("state-dir"))
	if err != nil {
		return backup.Source{}, err
	}
	cfg := config.Default()
	file := c.String("config")
	if _, err := os.Stat(file); err == nil {
		if cfg, err = config.Load(file); err != nil {
			return backup.Source{}, err
		}
	} else if c.IsSet("config") {
		return backup.Source{}, fmt.Errorf("--config: %w", err)
	}
	cfg.StateDir = state
	return backup.Source{
		StateDir: state, MediaDir: cfg.MediaDir(), Config: file, Version: buildVersion(), Media: c.Bool("media"), Roots: c.Bool("roots"), Recipients: to,
		Progress: m.report,
		Lost:     func(name, why string) { fmt.Fprintf(std.err, "left out: %q: %s\n", name, why) },
	}, nil
}

// writeTo lets by write the file name, which must not exist and appears whole; "-" is the standard
// output.
func writeTo(name string, std streams, by func(io.Writer) (backup.Header, error)) (backup.Header, error) {
	if name == "-" {
		return by(std.out)
	}
	if _, err := os.Lstat(name); err == nil {
		return backup.Header{}, fmt.Errorf("%s exists; want the name of a new file", name)
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return backup.Header{}, err
	}
	header, err := by(file)
	if err == nil {
		return header, durable.Commit(file, name)
	}
	return backup.Header{}, errors.Join(err, file.Close(), os.Remove(file.Name()))
}

func describeBackup(h backup.Header) string {
	text := fmt.Sprintf("%s and %s of %s", count(h.Boards, "board"), count(len(h.Templates), "template"), h.Host)
	if h.Media {
		text += ", and the media share"
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// openBackup opens a file, or the standard input, and returns its size; 0 if that is unknown.
func openBackup(name string, std streams) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(std.in), 0, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func verifyBackup(c *cli.Context, std streams) error {
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	who, err := identities(c)
	if err != nil {
		return err
	}
	file, size, err := openBackup(args[0], std)
	if err != nil {
		return err
	}
	defer file.Close()
	m := backupMeter(std)
	header, err := backup.Verify(c.Context, file, who, func(bytes int64) { m.report(backup.ReadStep, bytes, size) })
	m.clear()
	if err != nil {
		return sealedHint(err)
	}
	if c.Bool("json") {
		return printJSON(std.out, header)
	}
	fmt.Fprintf(std.out, "whole: %s, made %s by pibootd %s\n", describeBackup(header), header.Made.Local().Format("2 Jan 2006 15:04"), header.Version)
	return nil
}

func sealedHint(err error) error {
	if errors.Is(err, backup.ErrSealed) {
		return hintedError{err, "give --passphrase-file or --identity"}
	}
	return err
}

func restoreBackup(c *cli.Context, std streams) error {
	m := backupMeter(std)
	state, err := filepath.Abs(c.String("state-dir"))
	if err != nil {
		return err
	}
	target := backup.Target{StateDir: state, MediaDir: c.String("media-dir"), Progress: m.report}
	if err := needRoot("a backup has the files of all users of a root"); err != nil {
		return err
	}
	if c.Bool("resume") {
		if _, err := arguments(c); err != nil {
			return err
		}
		err := target.Resume(c.Context)
		m.clear()
		if err == nil {
			fmt.Fprintf(std.out, "%s has all roots\n%s\n", state, startAgain)
		}
		return restoreHint(err, state)
	}
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	if target.Identities, err = identities(c); err != nil {
		return err
	}
	file, size, err := openBackup(args[0], std)
	if err != nil {
		return err
	}
	defer file.Close()
	target.Size = size
	header, err := target.Restore(c.Context, file)
	m.clear()
	if err != nil {
		return restoreHint(sealedHint(err), state)
	}
	return restored(std, target, header)
}

const startAgain = "Boards that ran meanwhile have to be started again: the handles of their files are those of the old disk."

// restoreHint adds to an error how an interrupted restore goes on.
func restoreHint(err error, state string) error {
	if errors.Is(err, backup.ErrUnfinished) {
		return hintedError{err, "remove the reason, if there is one, then pibootd restore --resume --state-dir " + state}
	}
	return err
}

// restored says what there is now, and what is left to do.
func restored(std streams, target backup.Target, header backup.Header) error {
	fmt.Fprintf(std.out, "restored %s to %s\n", describeBackup(header), target.StateDir)
	saved := filepath.Join(target.StateDir, backup.ConfigFile)
	if _, err := os.Stat(installedConfig); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(std.out, "Its configuration is %s: look at it and copy it to %s.\n", saved, installedConfig)
	} else {
		fmt.Fprintf(std.out, "Its configuration is %s; %s is as it was.\n", saved, installedConfig)
	}
	fmt.Fprintln(std.out, startAgain)
	return nil
}
