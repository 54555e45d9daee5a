// Package sshkeys makes the ssh host keys of roots and checks authorized keys.
package sshkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"pibootd/pkg/rootfs/confine"
)

// A HostKey is an ssh host key as sshd(8) keeps it.
type HostKey struct {
	kind    string // as in ssh_host_<kind>_key
	private []byte
	public  []byte
}

// NewHostKeys makes one key of each kind that clients of the last ten years ask
// for. An RSA key would take most of a clone's time.
func NewHostKeys(hostname string) ([]HostKey, error) {
	kinds := []struct {
		name string
		make func() (crypto.Signer, error)
	}{
		{"ed25519", func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
		{"ecdsa", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	}
	keys := make([]HostKey, len(kinds))
	for i, kind := range kinds {
		signer, err := kind.make()
		if err == nil {
			keys[i], err = formatKey(kind.name, signer, "root@"+hostname)
		}
		if err != nil {
			return nil, fmt.Errorf("making the %s host key: %w", kind.name, err)
		}
	}
	return keys, nil
}

func formatKey(kind string, signer crypto.Signer, comment string) (HostKey, error) {
	private, err := ssh.MarshalPrivateKey(signer, comment)
	if err != nil {
		return HostKey{}, err
	}
	public, err := ssh.NewPublicKey(signer.Public())
	if err != nil {
		return HostKey{}, err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	return HostKey{
		kind:    kind,
		private: pem.EncodeToMemory(private),
		public:  []byte(line + " " + comment + "\n"),
	}, nil
}

// PutHostKeys replaces every host key of the root.
func PutHostKeys(root *os.Root, keys []HostKey) error {
	if err := dropHostKeys(root); err != nil {
		return err
	}
	for _, key := range keys {
		name := fmt.Sprintf("etc/ssh/ssh_host_%s_key", key.kind)
		err := errors.Join(
			confine.PutFile(root, name, key.private, 0o600),
			confine.PutFile(root, name+".pub", key.public, 0o644),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func dropHostKeys(root *os.Root) error {
	var err error
	for _, name := range confine.Glob(root, "etc/ssh/ssh_host_*") {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}

// CheckAuthorized refuses what sshd would silently not accept.
func CheckAuthorized(keys string) error {
	number := 0
	for line := range strings.Lines(keys) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil {
			return fmt.Errorf("rootfs: authorized keys, line %d: %.40q is no public key; want e.g. ssh-ed25519 AAAA… name", number, line)
		}
	}
	return nil
}
