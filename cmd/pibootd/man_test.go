package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The manual page describes every command and every flag in its section, and
// nothing hidden.
func TestManualPageIsComplete(t *testing.T) {
	_, page, _ := pibootd(t, "", "man")
	app := newApp(streams{})
	walk(app.Commands, app.Name, func(path string, command *cli.Command) {
		_, section, found := strings.Cut(page, "\n.SS "+roff(synopsis(path, command))+"\n")
		if command.Hidden {
			if found {
				t.Errorf("the page describes %s, which is hidden", path)
			}
			return
		}
		if !found {
			t.Errorf("the page has no heading %q", roff(synopsis(path, command)))
			return
		}
		section, _, _ = strings.Cut(section, "\n.S")
		_, common, _ := strings.Cut(page, "\n.SH COMMON OPTIONS\n")
		for _, flag := range visibleFlags(command) {
			if name := roff("--" + flag.(cli.Flag).Names()[0]); !strings.Contains(section, name) && !strings.Contains(common, name) {
				t.Errorf("%s: the page does not describe %s", path, name)
			}
		}
	})
	for _, heading := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "BOARDS", "TEMPLATES", "TRANSCODING", "OTHER MACHINES", "DAEMON", "COMMON OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES"} {
		if strings.Count(page, "\n.SH "+heading+"\n") != 1 {
			t.Errorf("the page has no section %s", heading)
		}
	}
	if strings.Contains(page, roff("--segment")+`\fR`) {
		t.Error("the page describes a hidden flag")
	}
}

// The page is the same each time: it has no date, and does not depend on the order
// of a map.
func TestManualPageIsReproducible(t *testing.T) {
	_, first, _ := pibootd(t, "", "man")
	for range 10 {
		if _, again, _ := pibootd(t, "", "man"); again != first {
			t.Fatal("two pages of one program differ")
		}
	}
	if date := regexp.MustCompile(`20[2-9][0-9]-[01]`).FindString(strings.ReplaceAll(first, `\-`, "-")); date != "" {
		t.Errorf("the page has the date %s", date)
	}
}

// groff formats the page without a warning, and command lines in it can be copied.
func TestManualPageIsRoff(t *testing.T) {
	_, page, _ := pibootd(t, "", "man")
	groff := exec.Command("groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=80n")
	groff.Stdin = strings.NewReader(page)
	var out, warnings bytes.Buffer
	groff.Stdout, groff.Stderr = &out, &warnings
	if err := groff.Run(); err != nil || warnings.Len() > 0 {
		t.Fatalf("groff: %v\n%s", err, warnings.String())
	}
	for _, want := range []string{"pibootd template import [OPTIONS] NAME SOURCE", "--segment-length SECONDS", "-y, --yes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page shows no %q:\n%s", want, out.String())
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"--wait":    `\-\-wait`,
		`a\b`:       `a\eb`,
		"the Pi's":  `the Pi\(aqs`,
		".hidden":   `\&.hidden`,
		"'quoted'":  `\(aqquoted\(aq`,
		"one\ntwo":  "one\n.br\ntwo",
		"[PI...]":   "[PI...]",
		"~/.config": `\(ti/.config`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q; want %q", in, got, want)
		}
	}
}
