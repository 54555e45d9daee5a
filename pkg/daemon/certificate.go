package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"pibootd/internal/durable"
)

// A certificate is what the TLS port shows; zero if there is no such port.
type certificate struct {
	config      *tls.Config
	fingerprint string // SHA-256 of the certificate, in hex
	selfSigned  bool
}

// certificateLasts is how long a self-signed certificate is valid. Browsers warn
// about it in any case, and clients know it by its fingerprint.
const certificateLasts = 20 * 365 * 24 * time.Hour

// tlsPort returns the port that is open for TLS, 0 if none is.
func (d *daemon) tlsPort() int {
	if d.socks.https == nil {
		return 0
	}
	return d.cfg.HTTP.TLSPort
}

// openCertificate reads the certificate that the configuration names, or else the
// self-signed one, which it makes at the first start.
func (d *daemon) openCertificate() (certificate, error) {
	if d.socks.https == nil {
		return certificate{}, nil
	}
	cert, key := d.cfg.HTTP.TLSCertFile, d.cfg.HTTP.TLSKeyFile
	if cert != "" {
		chain, err := os.ReadFile(cert)
		if err != nil {
			return certificate{}, fmt.Errorf("http.tls_cert_file: %w", err)
		}
		private, err := readPrivate(key)
		if err != nil {
			return certificate{}, fmt.Errorf("http.tls_key_file: %w", err)
		}
		c, err := certificateOf(chain, private)
		if err != nil {
			return certificate{}, fmt.Errorf("http.tls_cert_file %s with http.tls_key_file %s: %w", cert, key, err)
		}
		return c, nil
	}
	file := filepath.Join(d.cfg.StateDir, "keys", "https.pem")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = d.makeCertificate(file)
	}
	if err != nil {
		return certificate{}, fmt.Errorf("certificate: %w", err)
	}
	c, err := certificateOf(text, text)
	if err != nil {
		return certificate{}, fmt.Errorf("certificate %s: %w; remove it, and the next start makes another", file, err)
	}
	c.selfSigned = true
	return c, nil
}

func certificateOf(chain, private []byte) (certificate, error) {
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return certificate{}, err
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return certificate{
		config:      &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		fingerprint: hex.EncodeToString(sum[:]),
	}, nil
}

// makeCertificate makes a key and a self-signed certificate for all names of this
// machine, and stores both in a file.
func (d *daemon) makeCertificate(file string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	// A NAS without a clock of its own starts in the past.
	template := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "pibootd on " + name},
		NotBefore: now.Add(-certificateLasts), NotAfter: now.Add(certificateLasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames:    append([]string{name, name + ".local", "localhost"}, d.cfg.HTTP.Names...),
		IPAddresses: []net.IP{d.network.Addr().AsSlice(), netip.MustParseAddr("127.0.0.1").AsSlice()},
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return text, durable.WriteFile(file, text, 0o600)
}
