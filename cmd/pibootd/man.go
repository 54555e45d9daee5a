package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Description: "To read it where pibootd was installed by hand: pibootd man | man -l -",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			_, err := io.WriteString(std.out, manPage(c.App, commandCategories(std)))
			return err
		},
	}
}

// manPage returns the manual page of app in the man(7) format. It has no date, so
// that the same source makes the same page.
func manPage(app *cli.App, categories []category) string {
	m := &manual{name: app.Name}
	fmt.Fprintf(&m.out, ".TH %s 8 \"\" \"%s\" \"System Administration\"\n.nh\n.ad l\n", strings.ToUpper(app.Name), roff(app.Name+" "+app.Version))
	m.section("Name", roff(app.Name)+` \- `+roff(app.Usage))
	m.section("Synopsis", bold(app.Name)+" "+italic("COMMAND")+" ["+italic("OPTIONS")+"] ["+italic("ARGUMENTS")+"]")
	m.section("Description", roff(describeProgram))
	m.findCommon(categories)
	for _, c := range categories {
		m.section(c.name)
		walk(c.commands, app.Name, m.command)
	}
	m.section("Common options", roff("Most commands also have these options."))
	m.flags(m.common)
	m.section("Exit status")
	for _, status := range []row{{"0", "success"}, {"1", "the command failed"}, {"2", "the command line was wrong"}} {
		m.item(bold(status.name), status.text)
	}
	m.section("Environment")
	m.item(bold(envStateDir), "the default of --state-dir")
	m.item(bold(envSocket), "the default of --socket")
	m.item(bold(envServer), "the default of --server")
	m.item(bold(envTokenFile), "the default of --token-file")
	m.item(bold(envFingerprint), "the default of --fingerprint")
	m.section("Files")
	m.item(italic(installedConfig), "the configuration of the systemd service; pibootd config example prints one with every setting explained")
	m.item(italic("/var/lib/pibootd"), "the state directory: templates, roots, media and the database")
	return m.out.String()
}

const describeProgram = "pibootd serves DHCP, TFTP and NFS to Raspberry Pis, which boot from it without an SD card, and spreads the transcoding of videos over them. " +
	"pibootd serve runs the daemon. The other commands connect to its control socket, or to the daemon on another machine by --server; those for templates do not need it."

// minCommon is how many commands have a flag that is described only once.
const minCommon = 10

// A manual is a manual page that is being written.
type manual struct {
	name   string
	out    strings.Builder
	common []cli.DocGenerationFlag
}

// findCommon finds the flags that many commands share.
func (m *manual) findCommon(categories []category) {
	count := map[string]int{}
	for _, c := range categories {
		walk(c.commands, m.name, func(_ string, command *cli.Command) {
			for _, flag := range visibleFlags(command) {
				if text := flagText(flag); count[text] < minCommon {
					if count[text]++; count[text] == minCommon {
						m.common = append(m.common, flag)
					}
				}
			}
		})
	}
}

func (m *manual) isCommon(flag cli.DocGenerationFlag) bool {
	for _, common := range m.common {
		if flagText(common) == flagText(flag) {
			return true
		}
	}
	return false
}

// section begins a section with lines of roff.
func (m *manual) section(heading string, lines ...string) {
	fmt.Fprintf(&m.out, ".SH %s\n", strings.ToUpper(roff(heading)))
	for _, line := range lines {
		fmt.Fprintln(&m.out, line)
	}
}

// command describes a command and its own flags.
func (m *manual) command(path string, command *cli.Command) {
	if command.Hidden {
		return
	}
	fmt.Fprintf(&m.out, ".SS %s\n%s.\n", roff(synopsis(path, command)), roff(capitalized(command.Usage)))
	if command.Description != "" {
		fmt.Fprintf(&m.out, ".PP\n%s\n", roff(command.Description))
	}
	var own []cli.DocGenerationFlag
	for _, flag := range visibleFlags(command) {
		if !m.isCommon(flag) {
			own = append(own, flag)
		}
	}
	m.flags(own)
}

func (m *manual) flags(flags []cli.DocGenerationFlag) {
	for _, flag := range flags {
		name, value, found := strings.Cut(flagSyntax(flag), " ")
		if strings.HasSuffix(name, ",") { // -y, --yes
			second, last, more := strings.Cut(value, " ")
			name, value, found = name+" "+second, last, more
		}
		syntax := bold(name)
		if found {
			syntax += " " + italic(value)
		}
		m.item(syntax, flagText(flag))
	}
}

// item describes a name, which is roff, by a text, which is not.
func (m *manual) item(name, text string) {
	fmt.Fprintf(&m.out, ".TP\n%s\n%s\n", name, roff(text))
}

func capitalized(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func bold(text string) string   { return `\fB` + roff(text) + `\fR` }
func italic(text string) string { return `\fI` + roff(text) + `\fR` }

// roff returns a text in which roff finds no command. Dashes are those of a command
// line, which can be copied from the page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return strings.ReplaceAll(text, "\n", "\n.br\n")
}
