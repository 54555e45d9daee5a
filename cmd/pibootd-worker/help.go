package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

const helpIntro = `pibootd-worker - transcode videos for pibootd

Usage: pibootd-worker [--config FILE]
       pibootd-worker --server HOST:PORT --token-file FILE [OPTIONS]

The first form is for a board, where pibootd has written the configuration file.
The second is for another machine; pibootd add-worker prints its token.

Options:
`

const helpWidth = 80

// printHelp describes the command and its flags in lines of helpWidth characters.
func printHelp(w io.Writer, flags *flag.FlagSet) {
	var names, texts []string
	column := 0
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		names = append(names, strings.TrimSpace(fmt.Sprintf("--%s %s", f.Name, value)))
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" {
			text += fmt.Sprintf(" (default: %s)", f.DefValue)
		}
		texts = append(texts, text)
		column = max(column, len(names[len(names)-1]))
	})
	fmt.Fprint(w, helpIntro)
	for i, name := range names {
		for j, line := range wrap(texts[i], helpWidth-column-4) {
			if j > 0 {
				name = ""
			}
			fmt.Fprintf(w, "  %-*s  %s\n", column, name, line)
		}
	}
}

// wrap splits text into lines of at most width characters, except longer words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
