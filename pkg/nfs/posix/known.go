package posix

import "regexp"

// A Rule is why an export differs from a local file system, and in what.
type Rule struct {
	Name  string // as docs/network.md has it
	cases *regexp.Regexp
	// What the notes are; the local one is not in vain: what fails there may succeed over NFS.
	local, mounted *regexp.Regexp
}

func rule(name, cases, local, mounted string) Rule {
	return Rule{name, regexp.MustCompile("^(?:" + cases + ")$"), regexp.MustCompile("^(?:" + local + ")$"), regexp.MustCompile("^(?:" + mounted + ")$")}
}

// Rules are the known differences. Each is the NFS client's doing, or the protocol's.
func Rules() []Rule {
	return []Rule{
		rule("removed while open", "remove/.*|given/removed while open", `ls "." \[.*`, `ls "." \[.*\(silly\).*`),
		rule("removed while open", "remove/an open file", `stat: file .* links 0 .*`, `stat: file .* links 1 .*`),
		rule("removed while open", "link/of an open file", `stat: file .* links 1 .*`, `stat: file .* links 2 .*`),
		rule("removed while open", "remove/the directory of an open file", `rmdir "d": (ok|ENOENT)`, `rmdir "d": (ENOTEMPTY|ok)`),
		rule("more than 16 groups", "access/(17|40) groups", `content of "f(1[6-9]|[23].)" = "text": ok`, `content of .* = "": EACCES`),
		rule("times before 1970 and after 2106", "times/set .*", `times "f": .*`, `times "f": .*\b(0|4294967295)\.000000000.*`),
		rule("no such call", "others/.*|data/allocation|open/a temporary file", `.*`, `.*: (ENOTSUP|ENOTTY)|\(nothing\)`),
		rule("no such call", "rename/flags", `rename . . with .*`, `rename . . with .: (EINVAL|ENOENT)`),
		rule("changes of nothing", "set-ids/chown of nothing|changes/(chown of nothing|truncate to the same size)", `stat .*|chown .*: EPERM|changed .*`, `stat .*|chown .*: ok|changed .*`),
		rule("new files of a foreign group", "set-ids/inherited", `stat "d/1003g": file 2745 .*`, `stat "d/1003g": file 0745 .*`),
		rule("new files on a read-only mount", "given/removed", `make "f" 644: EEXIST`, `make "f" 644: EROFS`),
		rule("programs that are no files", "kinds/access.*", `access .*: "rwx"`, `access .*: "rw"`),
		rule("a removed directory", "remove/the working directory", `.* "(f|e)" .*: ENOENT`, `.*: ESTALE`),
		rule("the time of modification", "times/omit now by 1002", `utimes "f" omit now: EPERM|times .* 200.0*: ok`, `utimes "f" omit now: ok|times .* today: ok`),
	}
}

// ruleFor returns the name of the rule by which a case's note is another over NFS; "": none.
func ruleFor(rules []Rule, name, local, mounted string) string {
	for _, r := range rules {
		if r.cases.MatchString(name) && r.local.MatchString(local) && r.mounted.MatchString(mounted) {
			return r.Name
		}
	}
	return ""
}
