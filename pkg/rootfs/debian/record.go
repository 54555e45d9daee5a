package debian

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A record is a paragraph of a Debian package list (deb-control(5)): fields by
// name, continuation lines left out.
type record map[string]string

// maxRecords is far more packages than a root holds.
const maxRecords = 10000

func parseRecords(text []byte) ([]record, error) {
	var records []record
	current := record{}
	flush := func() {
		if len(current) > 0 {
			records = append(records, current)
			current = record{}
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "" {
			flush()
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if ok && !strings.ContainsAny(key, " \t") {
			current[key] = strings.TrimSpace(value)
		}
		if len(records) > maxRecords {
			return nil, fmt.Errorf("package list has more than %d records", maxRecords)
		}
	}
	flush()
	return records, nil
}

// packageWord is what names, versions and architectures consist of; it keeps
// them from being paths or options.
var packageWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~-]*$`)

// maxInstalledKB is far above what a package takes.
const maxInstalledKB = 1 << 30

// deb says which file in dir holds the package.
func (r record) deb(dir string) (debFile, error) {
	name, version, arch := r["Package"], r["Version"], r["Architecture"]
	for _, word := range []string{name, version, arch} {
		if !packageWord.MatchString(word) {
			return debFile{}, fmt.Errorf("package list: %q cannot be a name, version or architecture (package %q)", word, name)
		}
	}
	size, err := strconv.ParseInt(r["Size"], 10, 64)
	if err != nil || size <= 0 || len(r["SHA256"]) != 64 {
		return debFile{}, fmt.Errorf("package list: %s has size %q and SHA256 %q; want a number and 64 hex digits", name, r["Size"], r["SHA256"])
	}
	installed, err := strconv.ParseInt(r["Installed-Size"], 10, 64)
	if err != nil || installed < 0 || installed > maxInstalledKB {
		installed = 0 // the field is optional, and an estimate
	}
	file := fmt.Sprintf("%s_%s_%s.deb", name, strings.ReplaceAll(version, ":", "%3a"), arch)
	return debFile{name: name, version: version, file: filepath.Join(dir, file), size: size, installed: installed << 10, sha256: r["SHA256"]}, nil
}

// kernelName is a kernel's own package, linux-image-6.1.0-50-arm64.
var kernelName = regexp.MustCompile(`\blinux-image-(\d[a-z0-9.+~-]*)`)

// kernel returns the package that linux-image-arm64 stands for, and the
// version of its modules.
func (r record) kernel() (name, version string, err error) {
	m := kernelName.FindStringSubmatch(r["Depends"])
	if m == nil {
		return "", "", fmt.Errorf("package %s depends on %q; want a linux-image-VERSION", r["Package"], r["Depends"])
	}
	return m[0], m[1], nil
}
