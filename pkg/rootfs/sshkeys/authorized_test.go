package sshkeys

import (
	"strings"
	"testing"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHM7GvM0pUNbCxGb3v6Hn2ScVPGqNFnw0qBpqyC0J4xq nas\n"

func TestCheckAuthorized(t *testing.T) {
	if err := CheckAuthorized("# mine\n\n" + testKey); err != nil {
		t.Errorf("CheckAuthorized = %v; want nil", err)
	}
	if err := CheckAuthorized(testKey + "-----BEGIN OPENSSH PRIVATE KEY-----\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("CheckAuthorized of a private key = %v; want an error for line 2", err)
	}
}
