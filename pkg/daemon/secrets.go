package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"pibootd/pkg/transcode/queue"
)

// readSecrets reads the secrets that the configuration names.
func (d *daemon) readSecrets() (err error) {
	if file := d.cfg.Webhook.SecretFile; file != "" {
		if d.hookSecret, err = readSecret(file); err != nil {
			return fmt.Errorf("webhook.secret_file: %w", err)
		}
	}
	if file := d.cfg.HTTP.UploadTokenFile; file != "" {
		if d.uploadToken, err = readSecret(file); err != nil {
			return fmt.Errorf("http.upload_token_file: %w", err)
		}
	}
	if file := d.cfg.Queue.Credentials; file != "" {
		if d.queueCredentials, err = readCredentials(file); err != nil {
			return fmt.Errorf("queue.credentials: %w", err)
		}
	}
	return nil
}

// Limits of a secret, in bytes.
const (
	minSecret = 16
	maxSecret = 4096
)

// readCredentials reads what an external NATS server knows pibootd by.
func readCredentials(name string) (queue.Credentials, error) {
	text, err := readPrivate(name)
	if err != nil {
		return queue.Credentials{}, err
	}
	c, err := queue.ParseCredentials(text)
	if err != nil {
		return queue.Credentials{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// readSecret reads a secret that only its owner can read.
func readSecret(name string) ([]byte, error) {
	text, err := readPrivate(name)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSpace(text)
	if len(secret) < minSecret || len(text) > maxSecret {
		return nil, hintedError{fmt.Errorf("%s has %d bytes; want %d to %d", name, len(secret), minSecret, maxSecret), "openssl rand -hex 32 > " + name}
	}
	return secret, nil
}

// readPrivate reads a file that only its owner can read, and at most one byte
// more than maxSecret of it.
func readPrivate(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, hintedError{fmt.Errorf("%s is %v; want a file that only its owner can read", name, info.Mode()), "chmod 600 " + name}
	}
	return io.ReadAll(io.LimitReader(file, maxSecret+1))
}
