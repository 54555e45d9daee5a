package rootfs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// A hostKey is an ssh host key as sshd(8) keeps it.
type hostKey struct {
	kind    string // as in ssh_host_<kind>_key
	private []byte
	public  []byte
}

// rsaBits is what ssh-keygen makes.
const rsaBits = 3072

// makeHostKeys makes one key of each kind that sshd uses.
func makeHostKeys(ctx context.Context, hostname string) ([]hostKey, error) {
	kinds := []struct {
		name string
		make func() (crypto.Signer, error)
	}{
		{"ed25519", func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
		{"ecdsa", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		{"rsa", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }},
	}
	keys := make([]hostKey, len(kinds))
	making, ctx := errgroup.WithContext(ctx)
	for i, kind := range kinds {
		making.Go(func() error {
			signer, err := kind.make()
			if err == nil {
				keys[i], err = formatKey(kind.name, signer, "root@"+hostname)
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("making the %s host key: %w", kind.name, err)
			}
			return nil
		})
	}
	return keys, making.Wait()
}

func formatKey(kind string, signer crypto.Signer, comment string) (hostKey, error) {
	private, err := ssh.MarshalPrivateKey(signer, comment)
	if err != nil {
		return hostKey{}, err
	}
	public, err := ssh.NewPublicKey(signer.Public())
	if err != nil {
		return hostKey{}, err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	return hostKey{
		kind:    kind,
		private: pem.EncodeToMemory(private),
		public:  []byte(line + " " + comment + "\n"),
	}, nil
}

// putHostKeys replaces every host key of the root.
func putHostKeys(root *os.Root, keys []hostKey) error {
	if err := dropHostKeys(root); err != nil {
		return err
	}
	for _, key := range keys {
		name := fmt.Sprintf("etc/ssh/ssh_host_%s_key", key.kind)
		err := errors.Join(
			putFile(root, name, key.private, 0o600),
			putFile(root, name+".pub", key.public, 0o644),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func dropHostKeys(root *os.Root) error {
	old, err := fs.Glob(root.FS(), "etc/ssh/ssh_host_*")
	for _, name := range old {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}
