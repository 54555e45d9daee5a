package hls

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
)

// closedCaptions is the TYPE of EXT-X-MEDIA whose members are in the video itself.
const closedCaptions = "CLOSED-CAPTIONS"

// instreamID matches the channels and services of closed captions.
var instreamID = regexp.MustCompile(`^(CC[1-4]|SERVICE([1-9]|[1-5][0-9]|6[0-3]))$`)

// parseCaptions reads an EXT-X-MEDIA of closed captions (RFC 8216bis §4.4.6.1).
func (m *masterFile) parseCaptions(value string, a map[string]string) error {
	if a["GROUP-ID"] == "" || a["NAME"] == "" || a["URI"] != "" || !instreamID.MatchString(a["INSTREAM-ID"]) {
		return fmt.Errorf("EXT-X-MEDIA:%.100s; want GROUP-ID, NAME and INSTREAM-ID, and no URI", value)
	}
	for _, before := range m.captions {
		if before["GROUP-ID"] == a["GROUP-ID"] && (before["NAME"] == a["NAME"] || before["INSTREAM-ID"] == a["INSTREAM-ID"]) {
			return fmt.Errorf("EXT-X-MEDIA:%.100s; want a NAME and an INSTREAM-ID that no other of its group has", value)
		}
	}
	m.captions = append(m.captions, a)
	return nil
}

// checkCaptions makes sure that the groups of closed captions that variant streams name
// are there, and that none has captions where one says that there are none (RFC 8216bis
// §4.4.6.2).
func (m *masterFile) checkCaptions() error {
	none, used, there := 0, map[string]bool{}, map[string]bool{}
	for _, v := range m.variants {
		switch {
		case v.captions == "NONE":
			none++
		case v.captions != "":
			used[v.captions] = true
		}
	}
	for _, a := range m.captions {
		there[a["GROUP-ID"]] = true
	}
	if none > 0 && (none < len(m.variants) || len(there) > 0) {
		return errors.New("CLOSED-CAPTIONS=NONE of some variant streams; want it of all, or of none")
	}
	if !maps.Equal(used, there) {
		return fmt.Errorf("variant streams have the groups %v of closed captions, and %v are there; want the same", used, there)
	}
	return nil
}
