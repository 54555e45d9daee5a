package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

const (
	// defaultWidth is the width of help that goes to no terminal, and maxWidth
	// what is comfortable to read on a wide one.
	defaultWidth, minWidth, maxWidth = 80, 40, 100

	// maxNameColumn bounds the column of names: the text of a longer name starts
	// on a line of its own.
	maxNameColumn = 26
)

// A category is a section of the command list.
type category struct {
	name     string
	commands []*cli.Command
}

// setHelp replaces the library's help, which does not wrap lines and prints
// "(default: false)", with our own for app and each of its commands.
func setHelp(app *cli.App, categories []category, width int) {
	app.CustomAppHelpTemplate = asTemplate(appHelp(app, categories, width))
	walk(app.Commands, app.Name, func(path string, command *cli.Command) {
		command.CustomHelpTemplate = asTemplate(commandHelp(path, command, width))
	})
}

// walk calls visit for each command and subcommand, with the words that a user
// types to run it.
func walk(commands []*cli.Command, parent string, visit func(path string, command *cli.Command)) {
	for _, command := range commands {
		path := parent + " " + command.Name
		visit(path, command)
		walk(command.Subcommands, path, visit)
	}
}

// asTemplate returns a template that prints text.
func asTemplate(text string) string { return "{{" + strconv.Quote(text) + "}}" }

func appHelp(app *cli.App, categories []category, width int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\nUsage: %s COMMAND [OPTIONS] [ARGUMENTS]\n", wrapText(app.Name+" - "+app.Usage, 0, 0, width), app.Name)
	column := 0
	for _, c := range categories {
		column = max(column, nameColumn(commandRows(c.commands)))
	}
	for _, c := range categories {
		fmt.Fprintf(&out, "\n%s:\n%s", c.name, columns(commandRows(c.commands), column, width))
	}
	fmt.Fprintf(&out, "\n%s\n", wrapText(fmt.Sprintf("%s COMMAND --help describes a command and its options.", app.Name), 0, 0, width))
	return out.String()
}

func commandHelp(path string, command *cli.Command, width int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n%s\n", wrapText(path+" - "+command.Usage, 0, 0, width), wrapText("Usage: "+synopsis(path, command), 0, 7, width))
	if command.Description != "" {
		fmt.Fprintf(&out, "\n%s\n", wrapText(command.Description, 0, 0, width))
	}
	if len(command.Subcommands) > 0 {
		rows := commandRows(command.Subcommands)
		fmt.Fprintf(&out, "\nCommands:\n%s", columns(rows, nameColumn(rows), width))
	}
	rows := append(flagRows(command), row{"-h, --help", "show this help"})
	fmt.Fprintf(&out, "\nOptions:\n%s", columns(rows, nameColumn(rows), width))
	return out.String()
}

// synopsis returns a command line of the command.
func synopsis(path string, command *cli.Command) string {
	text := path
	switch {
	case len(command.Subcommands) > 0:
		return path + " COMMAND [OPTIONS] [ARGUMENTS]"
	case len(visibleFlags(command)) > 0:
		text += " [OPTIONS]"
	}
	if command.ArgsUsage != "" {
		text += " " + command.ArgsUsage
	}
	return text
}

// A row is a name and what there is to say about it.
type row struct{ name, text string }

func commandRows(commands []*cli.Command) []row {
	var rows []row
	for _, command := range commands {
		if command.Hidden {
			continue
		}
		rows = append(rows, row{command.Name, command.Usage})
	}
	return rows
}

func flagRows(command *cli.Command) []row {
	var rows []row
	for _, flag := range visibleFlags(command) {
		rows = append(rows, row{flagSyntax(flag), flagText(flag)})
	}
	return rows
}

// visibleFlags returns the flags that help shows, without --help itself.
func visibleFlags(command *cli.Command) []cli.DocGenerationFlag {
	var flags []cli.DocGenerationFlag
	for _, flag := range command.Flags {
		if hidden, ok := flag.(cli.VisibleFlag); ok && !hidden.IsVisible() || slices.Contains(flag.Names(), "help") {
			continue
		}
		flags = append(flags, flag.(cli.DocGenerationFlag))
	}
	return flags
}

// flagSyntax returns how a flag is typed, e.g. "-y, --yes" or "--name NAME".
func flagSyntax(flag cli.DocGenerationFlag) string {
	names := slices.Clone(flag.(cli.Flag).Names())
	slices.SortFunc(names, func(a, b string) int { return len(a) - len(b) })
	for i, name := range names {
		names[i] = "--" + name
		if len(name) == 1 {
			names[i] = "-" + name
		}
	}
	text := strings.Join(names, ", ")
	if !flag.TakesValue() {
		return text
	}
	value := "VALUE"
	if _, after, found := strings.Cut(flag.GetUsage(), "`"); found {
		value, _, _ = strings.Cut(after, "`")
	}
	return text + " " + value
}

// flagText returns what a flag does, its default and the environment variable
// that sets it.
func flagText(flag cli.DocGenerationFlag) string {
	text := strings.ReplaceAll(flag.GetUsage(), "`", "")
	if list, ok := flag.(cli.DocGenerationSliceFlag); ok && list.IsSliceFlag() {
		text += "; may be repeated"
	}
	if value := flagDefault(flag); value != "" {
		text += " (default: " + value + ")"
	}
	for _, name := range flag.GetEnvVars() {
		text += " [$" + name + "]"
	}
	return text
}

// flagDefault returns the value of a flag that is not given; "" where that is
// nothing, zero or false.
func flagDefault(flag cli.DocGenerationFlag) string {
	value := strings.Trim(flag.GetDefaultText(), `"`)
	if !flag.TakesValue() || value == "0" {
		return ""
	}
	return value
}

// nameColumn returns the width of the column that the names of rows need.
func nameColumn(rows []row) int {
	column := 0
	for _, r := range rows {
		if width := utf8.RuneCountInString(r.name); width <= maxNameColumn {
			column = max(column, width)
		}
	}
	return column
}

// columns returns rows as indented lines, their texts below each other.
func columns(rows []row, column, width int) string {
	const indent, gap = 2, 2
	var out strings.Builder
	for _, r := range rows {
		name := fmt.Sprintf("%*s%-*s", indent, "", column, r.name)
		if utf8.RuneCountInString(r.name) > column {
			out.WriteString(name + "\n")
			name = strings.Repeat(" ", indent+column)
		}
		hang := indent + column + gap
		out.WriteString(name + strings.Repeat(" ", gap) + wrapText(r.text, hang, hang, width) + "\n")
	}
	return out.String()
}

// wrapText breaks the paragraphs of text at spaces into lines of at most width
// columns, where words allow it. The first line has used columns before it; all
// further lines of a paragraph are indented by hang.
func wrapText(text string, used, hang, width int) string {
	var paragraphs []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		var lines []string
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			switch {
			case line == "":
				line = word
			case used+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
				line += " " + word
			default:
				lines = append(lines, line)
				line, used = strings.Repeat(" ", hang)+word, 0
			}
		}
		paragraphs = append(paragraphs, strings.Join(append(lines, line), "\n"))
		used = 0
	}
	return strings.Join(paragraphs, "\n")
}
