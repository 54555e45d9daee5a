//go:build netns

package daemon

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/config"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/sshkeys"
	"pibootd/pkg/virtualpi"
	"pibootd/pkg/web"
)

// A report has the requests that the board sent, and no secret of the installation or of the
// board's root, though the board has logged all of them.
func TestReportHasNoSecrets(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	cfg := logConfig(t)
	register(t, cfg, "10.77.0.50")
	secrets := secretsIn(t, &cfg)
	stop := start(t, network, cfg)
	client := web.NewClient(cfg.SocketFile())

	pi3 := virtualpi.Board{Model: virtualpi.Pi3BPlus, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Serial: 0x3333347a, Timing: virtualpi.Timing{FileTimeout: time.Second}}
	if _, err := pi3.PowerOn(t.Context(), virtualpi.Socket{Namespace: network, Bridge: "br0"}); err == nil {
		t.Error("a board without boot files has booted")
	}
	board := netlabtest.Host{Port: "board", Addr: "10.77.0.50/24"}.Join(t, network)
	sendLog(t, board, "10.77.0.1:514", "<13>app: "+strings.Join(secrets, "\n<13>app: ")+"\n<13>app: that is all")
	for line, err := range client.FollowLogs(t.Context(), boardlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Text == "that is all" {
			break
		}
	}
	report, err := client.Report(t.Context(), "hlspi1")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(report.Text, secret) {
			t.Errorf("the report has the secret %q", secret)
		}
	}
	for _, want := range []string{"dhcp from no address, ", hex.EncodeToString([]byte("PXEClient:Arch:00000")), "app: that is all"} {
		if !strings.Contains(report.Text, want) {
			t.Errorf("the report has no %q", want)
		}
	}
	if t.Failed() {
		t.Log(report.Text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// secretsIn makes secrets of each kind and returns them, those of several lines by line.
func secretsIn(t *testing.T, cfg *config.Config) []string {
	t.Helper()
	dir := t.TempDir()
	cfg.HTTP.UploadTokenFile, cfg.Webhook.SecretFile = filepath.Join(dir, "upload"), filepath.Join(dir, "webhook")
	cfg.Webhook.URL = "https://hooks.example/services/T000/B000/XXXXsecret"
	root := filepath.Join(cfg.StateDir, "roots/3333347a")
	files := map[string]string{
		cfg.HTTP.UploadTokenFile:                        "the upload token of this NAS",
		cfg.Webhook.SecretFile:                          "the secret that signs webhooks",
		filepath.Join(root, "etc/pibootd/worker.json"):  `{"name":"3333347a","token":"0123456789abcdefWORKER","queue_url":"nats://10.77.0.1:4222"}`,
		filepath.Join(root, "etc/shadow"):               "root:*:19000:0:99999:7:::\npi:$y$j9T$saltsaltsalt$hashhashhashhash:19000:0:99999:7:::\n",
		filepath.Join(root, "boot/firmware/config.txt"): "decode_MPG2=0x1badcafe\n",
		filepath.Join(cfg.StateDir, "keys/nfs"):         strings.Repeat("k", nfsKeySize),
	}
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	keys, err := sshkeys.NewHostKeys("hlspi1")
	if err == nil {
		err = sshkeys.PutHostKeys(tree, keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	var worker struct{ Token string }
	if err := json.Unmarshal([]byte(files[filepath.Join(root, "etc/pibootd/worker.json")]), &worker); err != nil {
		t.Fatal(err)
	}
	secrets := []string{
		files[cfg.HTTP.UploadTokenFile], files[cfg.Webhook.SecretFile], "services/T000/B000/XXXXsecret", worker.Token,
		"$y$j9T$saltsaltsalt$hashhashhashhash", "decode_MPG2=0x1badcafe", hex.EncodeToString([]byte(strings.Repeat("k", nfsKeySize))),
	}
	for _, kind := range []string{"ed25519", "ecdsa"} {
		text, err := os.ReadFile(filepath.Join(root, "etc/ssh/ssh_host_"+kind+"_key"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) > 16 {
				secrets = append(secrets, line)
			}
		}
	}
	return secrets
}
