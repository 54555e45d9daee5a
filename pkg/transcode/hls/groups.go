package hls

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
)

// alternates are the types of EXT-X-MEDIA whose members are playlists. The attribute
// of EXT-X-STREAM-INF that names a group is called like its type.
var alternates = map[string]bool{"AUDIO": true, "SUBTITLES": true}

// A group is the EXT-X-MEDIA tags of one type with one GROUP-ID.
type group struct {
	kind, id string
	members  []member
}

// A member is an EXT-X-MEDIA.
type member struct {
	name, uri  string
	standard   bool              // DEFAULT=YES
	attributes map[string]string // all others that corresponding members share
}

func (m *masterFile) group(kind, id string) *group {
	for _, g := range m.groups {
		if g.kind == kind && g.id == id {
			return g
		}
	}
	return nil
}

// parseMedia reads an EXT-X-MEDIA (RFC 8216bis §4.4.6.1).
func (m *masterFile) parseMedia(value string) error {
	a, err := attributes(value)
	if err != nil {
		return err
	}
	if a["TYPE"] == closedCaptions {
		return m.parseCaptions(value, a)
	}
	if !alternates[a["TYPE"]] || a["GROUP-ID"] == "" || a["NAME"] == "" || !uriOf(a) {
		return fmt.Errorf("EXT-X-MEDIA:%.100s; want TYPE=AUDIO or SUBTITLES with GROUP-ID, NAME and URI", value)
	}
	for _, name := range []string{"DEFAULT", "AUTOSELECT", "FORCED"} {
		if v := a[name]; v != "" && v != "YES" && v != "NO" {
			return fmt.Errorf("EXT-X-MEDIA:%.100s; want %s=YES or NO", value, name)
		}
	}
	channels, err := strconv.Atoi(a["CHANNELS"])
	switch {
	case a["DEFAULT"] == "YES" && a["AUTOSELECT"] == "NO":
		return fmt.Errorf("EXT-X-MEDIA:%.100s; want AUTOSELECT=YES with DEFAULT=YES", value)
	case a["FORCED"] != "" && a["TYPE"] != "SUBTITLES":
		return fmt.Errorf("EXT-X-MEDIA:%.100s; want FORCED of subtitles only", value)
	case a["TYPE"] == "AUDIO" && (err != nil || channels < 1):
		return fmt.Errorf("EXT-X-MEDIA:%.100s; want CHANNELS of audio", value)
	}
	g := m.group(a["TYPE"], a["GROUP-ID"])
	if g == nil {
		g = &group{kind: a["TYPE"], id: a["GROUP-ID"]}
		m.groups = append(m.groups, g)
	}
	one := member{name: a["NAME"], uri: a["URI"], standard: a["DEFAULT"] == "YES", attributes: a}
	for _, name := range []string{"URI", "CHANNELS", "GROUP-ID"} {
		delete(one.attributes, name)
	}
	g.members = append(g.members, one)
	return nil
}

// uriOf reports whether an EXT-X-MEDIA has the path of a playlist. Audio needs none
// that is in the variant stream itself.
func uriOf(a map[string]string) bool {
	return fs.ValidPath(a["URI"]) || a["URI"] == "" && a["TYPE"] == "AUDIO"
}

// checkGroups looks at the groups together: RFC 8216bis §4.4.6.1.1.
func (m *masterFile) checkGroups() error {
	for _, g := range m.groups {
		names, choices, standard := map[string]bool{}, map[string]bool{}, 0
		for _, one := range g.members {
			choice := fmt.Sprint(one.attributes["LANGUAGE"], one.attributes["CHARACTERISTICS"], one.attributes["FORCED"])
			if names[one.name] {
				return fmt.Errorf("group %q has %q twice; want different names", g.id, one.name)
			}
			if one.attributes["AUTOSELECT"] == "YES" && choices[choice] {
				return fmt.Errorf("group %q: %q cannot be told from another by its language and characteristics; want AUTOSELECT of one", g.id, one.name)
			}
			names[one.name] = true
			choices[choice] = choices[choice] || one.attributes["AUTOSELECT"] == "YES"
			if one.standard {
				standard++
			}
		}
		if standard > 1 {
			return fmt.Errorf("group %q has %d members with DEFAULT=YES; want one at most", g.id, standard)
		}
		if err := m.checkAlternative(g); err != nil {
			return err
		}
	}
	return nil
}

// checkAlternative makes sure that g has the members of the first group of its type,
// and that a variant stream uses it.
func (m *masterFile) checkAlternative(g *group) error {
	first := g
	for _, other := range m.groups {
		if other.kind == g.kind {
			first = other
			break
		}
	}
	same := slices.EqualFunc(g.members, first.members, func(a, b member) bool { return maps.Equal(a.attributes, b.attributes) })
	if !same {
		return fmt.Errorf("groups %q and %q have other members; want the same except URI and CHANNELS", first.id, g.id)
	}
	if !slices.ContainsFunc(m.variants, func(v variantFile) bool { return v.groups[g.kind] == g.id }) {
		return fmt.Errorf("no variant stream has the group %q", g.id)
	}
	if g.kind == "AUDIO" && slices.ContainsFunc(m.variants, func(v variantFile) bool { return v.groups[g.kind] == "" }) {
		return errors.New("a variant stream has no audio, another has; want it with all")
	}
	return nil
}

// membersOf returns the playlists of the groups of a variant stream, by type.
func (m *masterFile) membersOf(v variantFile, media map[string]*mediaFile) map[string][]*mediaFile {
	lists := map[string][]*mediaFile{}
	for kind, id := range v.groups {
		for _, one := range m.group(kind, id).members {
			if one.uri != "" {
				lists[kind] = append(lists[kind], media[one.uri])
			}
		}
	}
	return lists
}
