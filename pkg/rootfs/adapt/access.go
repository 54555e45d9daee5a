package adapt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"pibootd/pkg/rootfs/confine"
)

// access makes sure that the owner can log in, and that nobody can with an image's default
// password.
func (a *adapter) access(o Options) error {
	failed := []error{a.enableSSH()}
	if !o.KeepPassword {
		failed = append(failed, a.edit("etc/shadow", "locked the passwords, which every board would share (--keep-password keeps them)", lockPasswords))
	}
	if o.AuthorizedKeys != "" {
		failed = append(failed, a.authorize(o.AuthorizedKeys))
	}
	return errors.Join(failed...)
}

// enableSSH makes sshd start at boot, if it is installed. Raspberry Pi OS disables it.
func (a *adapter) enableSSH() error {
	const wants = "etc/systemd/system/multi-user.target.wants/ssh.service"
	if _, err := a.root.Lstat(wants); err == nil {
		return nil
	}
	for _, unit := range []string{"usr/lib/systemd/system/ssh.service", "lib/systemd/system/ssh.service"} {
		if !confine.Exists(a.root, unit) {
			continue
		}
		if err := confine.PutSymlink(a.root, wants, "/"+unit); err != nil {
			return fmt.Errorf("enabling ssh: %w", err)
		}
		a.note(wants, "enabled")
		return nil
	}
	return nil
}

// lockPasswords locks every password of a shadow(5) file, as passwd -l does. Users can still log
// in with keys.
func lockPasswords(shadow string) string {
	var out strings.Builder
	for line := range strings.Lines(shadow) {
		name, rest, ok := strings.Cut(line, ":")
		if ok && !strings.HasPrefix(rest, "!") && !strings.HasPrefix(rest, "*") {
			line = name + ":!" + rest
		}
		out.WriteString(line)
	}
	return out.String()
}

// A user is an account of passwd(5).
type user struct {
	name     string
	uid, gid int
	home     string
}

// firstUser returns the account that a person logs in to: the first that does not belong to a
// service, or else root.
func firstUser(passwd string) user {
	const first, last = 1000, 59999 // the range of adduser
	least := user{name: "root", home: "/root", uid: last + 1}
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 {
			continue
		}
		uid, err := strconv.Atoi(fields[2])
		gid, err2 := strconv.Atoi(fields[3])
		if errors.Join(err, err2) == nil && uid >= first && uid < least.uid && path.IsAbs(fields[5]) {
			least = user{name: fields[0], uid: uid, gid: gid, home: fields[5]}
		}
	}
	if least.uid > last {
		least.uid = 0
	}
	return least
}

// authorize adds keys to the authorized keys of the first user.
func (a *adapter) authorize(keys string) error {
	passwd, err := confine.ReadText(a.root, "etc/passwd")
	if err != nil {
		return fmt.Errorf("authorized keys: %w", err)
	}
	who := firstUser(string(passwd))
	dir := path.Join(strings.TrimPrefix(path.Clean(who.home), "/"), ".ssh")
	file := path.Join(dir, "authorized_keys")
	text, err := confine.ReadText(a.root, file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("authorized keys: %w", err)
	}
	if strings.Contains(string(text), keys) {
		return nil
	}
	if len(text) > 0 && !strings.HasSuffix(string(text), "\n") {
		text = append(text, '\n')
	}
	if err := putOwned(a.root, dir, file, append(text, strings.TrimRight(keys, "\n")+"\n"...), who); err != nil {
		return fmt.Errorf("authorized keys of %s: %w", who.name, err)
	}
	a.note(file, "added your ssh keys, for the user "+who.name)
	return nil
}

// putOwned writes a file that only who can read, in a directory that only who can read, because
// sshd accepts no other.
func putOwned(root *os.Root, dir, file string, text []byte, who user) error {
	made, err := confine.MakeDir(root, dir)
	if err != nil {
		return err
	}
	defer made.Close()
	return errors.Join(
		confine.File{Data: text, Mode: 0o600, UID: who.uid, GID: who.gid}.Put(root, file),
		made.Chown(who.uid, who.gid),
		made.Chmod(0o700),
	)
}
