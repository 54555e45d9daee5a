package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"pibootd/pkg/config"
	"pibootd/pkg/transcode/broker"
)

// secrets are the contents of the files that the configuration names.
type secrets struct {
	webhook []byte             // nil: webhooks are not signed
	upload  []byte             // nil: no uploads over TCP
	queue   broker.Credentials // of the external server, if there is one
}

func readSecrets(cfg config.Config) (s secrets, err error) {
	if file := cfg.Webhook.SecretFile; file != "" {
		if s.webhook, err = readSecret(file); err != nil {
			return secrets{}, fmt.Errorf("webhook.secret_file: %w", err)
		}
	}
	if file := cfg.HTTP.UploadTokenFile; file != "" {
		if s.upload, err = readSecret(file); err != nil {
			return secrets{}, fmt.Errorf("http.upload_token_file: %w", err)
		}
	}
	if file := cfg.Queue.Credentials; file != "" {
		if s.queue, err = readCredentials(file); err != nil {
			return secrets{}, fmt.Errorf("queue.credentials: %w", err)
		}
	}
	return s, nil
}

// Limits of a secret, in bytes.
const (
	minSecret = 16
	maxSecret = 4096
)

// readCredentials reads the credentials for an external NATS server.
func readCredentials(name string) (broker.Credentials, error) {
	text, err := readPrivate(name)
	if err != nil {
		return broker.Credentials{}, err
	}
	c, err := broker.ParseCredentials(text)
	if err != nil {
		return broker.Credentials{}, fmt.Errorf("%s: %w", name, err)
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
