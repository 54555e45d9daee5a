package web

import (
	"strings"
	"testing"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/config"
	"pibootd/pkg/registry"
)

// A report has all that is known of a board, and none of the secrets that stand in it.
func TestReport(t *testing.T) {
	secrets := []string{"4f9a5b6c7d8e9f00", "hunter22", "$y$j9T$abcdefgh"}
	d := startWith(t, func(s *Server, _ *Listeners) {
		s.Config, s.Packets = config.Default(), &boardlog.Packets{}
		s.Secrets = func(registry.Pi) []string { return append(secrets, "a") }
		s.Packets.Add("3333347a", boardlog.Packet{At: time.Now(), Service: "dhcp", Bytes: []byte{1, 1, 6, 0}}, true)
	})
	d.logged(t, "token 4f9a5b6c7d8e9f00 hunter22 $y$j9T$abcdefgh ``` ssid=home psk=verysecret done")
	report, err := d.client.Report(t.Context(), "hlspi1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# pibootd's report on hlspi1\n", "by pibootd test", "## Diagnosis\n", `"serial": "3333347a"`, "## cmdline.txt\n", "root=/dev/nfs", "gpu_mem=",
		`"scratch_gb": 50`, "discover", "dhcp from no address, 4 bytes\n01010600\n", "token [removed] [removed] [removed] ''' ssid=home psk=[removed] done",
	} {
		if !strings.Contains(report.Text, want) {
			t.Errorf("the report has no %q:\n%s", want, report.Text)
		}
	}
	for _, secret := range append(secrets, "verysecret") {
		if strings.Contains(report.Text, secret) {
			t.Errorf("the report has the secret %q", secret)
		}
	}
	if _, err := d.client.Report(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Report of nobody = %v; want an error that names it", err)
	}
}

func TestRedactor(t *testing.T) {
	r := newRedactor([]string{"", "short", "longer secret", "longer"})
	for text, want := range map[string]string{
		"a longer secret, longer, short":   "a [removed], [removed], short",
		`"token": "abc", "x": 1`:           `"token": [removed], "x": 1`,
		"upload_token_file = \"/etc/t\"":   "upload_token_file = \"/etc/t\"",
		"PASSWORD='a b' c":                 "PASSWORD=[removed] c",
		"decode_MPG2=0x12345678\n":         "decode_MPG2=[removed]\n",
		"nats://ada:pw@10.0.0.1:4222 x":    "nats://[removed]@10.0.0.1:4222 x",
		"https://h/x?token=abc&y=1":        "https://h/x?token=[removed]&y=1",
		"Authorization: Bearer abcdefgh12": "Authorization: Bearer [removed]",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\ny": "[removed]\ny",
		"-----BEGIN PRIVATE KEY-----\nx":                                               "[removed]",
		"nothing=special monkey=1 key=2":                                               "nothing=special monkey=1 key=2",
	} {
		if got := r.clean(text); got != want {
			t.Errorf("clean(%q) = %q; want %q", text, got, want)
		}
	}
}
