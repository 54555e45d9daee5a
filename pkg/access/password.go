package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"pibootd/pkg/pi"
)

// The cost of a password's hash, as OWASP recommends it for argon2id (Password
// Storage Cheat Sheet). RFC 9106 §4 has higher ones, for machines that do nothing
// else; a NAS also serves its boards meanwhile.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // kB
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// Limits of a password, in characters and bytes.
const (
	minPassword = 10
	maxPassword = 1024
)

func checkPassword(password string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password), n < minPassword, len(password) > maxPassword:
		return pi.InvalidField("password", fmt.Errorf("the password has %d characters; want at least %d, and at most %d bytes", n, minPassword, maxPassword))
	}
	return nil
}

// hashPassword returns the hash in the PHC string format, which has its parameters
// in it.
func hashPassword(password string) (string, error) {
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, text(salt), text(key)), nil
}

var errHash = errors.New("the stored password hash cannot be read; make a new password: pibootd admin-link")

// isPassword reports whether hashed is the hash of password.
func isPassword(hashed, password string) (bool, error) {
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errHash
	}
	var version, memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil || version != argon2.Version {
		return false, errHash
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	want, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(want) == 0 || time == 0 || threads == 0 {
		return false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
