package hls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"

	"pibootd/pkg/transcode"
)

// addBeside adds the files beside the playlists that say what a stream is about.
func addBeside(files map[string][]byte, p transcode.Plan, results map[string]transcode.Result) (err error) {
	if text := p.Storyboard(results); text != nil {
		files[transcode.StoryboardName] = text
	}
	if len(p.Tags) > 0 {
		if files[transcode.TagsName], err = json.MarshalIndent(p.Tags, "", "\t"); err != nil {
			return fmt.Errorf("writing %s: %w", transcode.TagsName, err)
		}
	}
	if len(p.Chapters) > 0 {
		files[transcode.ChaptersVTTName] = transcode.ChaptersVTT(p.Chapters)
		if files[transcode.ChaptersJSONName], err = transcode.ChaptersJSON(p.Chapters); err != nil {
			return fmt.Errorf("writing %s: %w", transcode.ChaptersJSONName, err)
		}
	}
	return nil
}

// writeSessionData writes what Apple's players show of a stream: its title, and where
// its chapters are (RFC 8216bis §4.4.6.4).
func writeSessionData(b *bytes.Buffer, p transcode.Plan) {
	if title := p.Tags["title"]; title != "" {
		fmt.Fprintf(b, "#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.title\",VALUE=%s\n", quoted(title))
	}
	if len(p.Chapters) > 0 {
		fmt.Fprintf(b, "#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.chapters\",URI=%s\n", quoted(p.Output.URI(".", transcode.ChaptersJSONName)))
	}
}

// checkSessionData reads an EXT-X-SESSION-DATA, and the JSON that it names.
func checkSessionData(fsys fs.FS, value string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	if a["DATA-ID"] == "" || (a["VALUE"] == "") == (a["URI"] == "") {
		return fmt.Errorf("EXT-X-SESSION-DATA:%.100s; want DATA-ID with either VALUE or URI", value)
	}
	if a["URI"] == "" {
		return nil
	}
	text, err := fs.ReadFile(fsys, a["URI"])
	if err != nil {
		return err
	}
	if !json.Valid(text) {
		return fmt.Errorf("%s is no JSON", a["URI"])
	}
	return nil
}
