package daemon

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"pibootd/images"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs/confine"
)

// secretsOf returns the secrets that could stand in what is known of a board: those of this
// installation, and the board's own token, host keys and passwords.
func (d *daemon) secretsOf(board registry.Pi) []string {
	secrets := []string{string(d.secrets.upload), string(d.secrets.webhook), d.secrets.queue.Password, hex.EncodeToString(d.state.nfsKey)}
	for _, file := range []string{d.cfg.Queue.Credentials, filepath.Join(d.cfg.StateDir, "keys", "https.pem"), d.cfg.HTTP.TLSKeyFile} {
		if text, err := os.ReadFile(file); err == nil {
			secrets = append(secrets, longWords(string(text))...)
		}
	}
	if _, path, ok := strings.Cut(strings.TrimPrefix(d.cfg.Webhook.URL, "https://"), "/"); ok {
		secrets = append(secrets, path) // of services that know their callers by it
	}
	root, err := os.OpenRoot(d.fleet.Roots.Path(board.Serial))
	if err != nil {
		return secrets // and nothing of the root is known either
	}
	defer root.Close()
	return append(secrets, rootSecrets(root)...)
}

// rootSecrets returns the secrets of a board's root. A file that cannot be read has none.
func rootSecrets(root *os.Root) []string {
	var secrets []string
	var worker struct {
		Token string `json:"token"`
	}
	if text, err := confine.ReadText(root, images.WorkerConfigFile); err == nil && json.Unmarshal(text, &worker) == nil {
		secrets = append(secrets, worker.Token)
	}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		if text, err := confine.ReadText(root, "etc/ssh/ssh_host_"+kind+"_key"); err == nil {
			secrets = append(secrets, longWords(string(text))...)
		}
	}
	if text, err := confine.ReadText(root, "etc/shadow"); err == nil {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Split(line, ":"); len(fields) > 1 && len(fields[1]) > 1 {
				secrets = append(secrets, fields[1])
			}
		}
	}
	return secrets
}

// longWords returns the words of a file that are long enough to be part of a key.
func longWords(text string) []string {
	var words []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'=", r) }) {
		if len(word) >= minSecret {
			words = append(words, word)
		}
	}
	return words
}
