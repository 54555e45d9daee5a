package transcode

import "strings"

// languages are the languages that films are most often in: BCP 47, ISO 639-2 of
// both kinds, and what those who speak it call it.
const languages = `af afr Afrikaans
ar ara العربية
bg bul Български
bn ben বাংলা
bs bos Bosanski
ca cat Català
cs ces cze Čeština
cy cym wel Cymraeg
da dan Dansk
de deu ger Deutsch
el ell gre Ελληνικά
en eng English
es spa Español
et est Eesti
eu eus baq Euskara
fa fas per فارسی
fi fin Suomi
fr fra fre Français
ga gle Gaeilge
gl glg Galego
he heb עברית
hi hin हिन्दी
hr hrv Hrvatski
hu hun Magyar
hy hye arm Հայերեն
id ind Bahasa Indonesia
is isl ice Íslenska
it ita Italiano
ja jpn 日本語
ka kat geo ქართული
kk kaz Қазақша
ko kor 한국어
la lat Latina
lt lit Lietuvių
lv lav Latviešu
mk mkd mac Македонски
ms msa may Bahasa Melayu
nb nob Norsk bokmål
nl nld dut Nederlands
nn nno Norsk nynorsk
no nor Norsk
pl pol Polski
pt por Português
ro ron rum Română
ru rus Русский
sk slk slo Slovenčina
sl slv Slovenščina
sq sqi alb Shqip
sr srp Српски
sv swe Svenska
ta tam தமிழ்
te tel తెలుగు
th tha ไทย
tl tgl Tagalog
tr tur Türkçe
uk ukr Українська
ur urd اردو
vi vie Tiếng Việt
zh zho chi 中文`

// Language returns the shortest tag of BCP 47 for a language as sources name it:
// ISO 639-2, as in MP4 and Matroska, or BCP 47 itself. It returns "" for a language
// that is unknown or none, and for what is no tag.
func Language(code string) string {
	code = strings.TrimSpace(code)
	base, region, tagged := strings.Cut(strings.ReplaceAll(code, "_", "-"), "-")
	base = strings.ToLower(base)
	switch {
	case base == "und", base == "mul", base == "zxx", base == "mis", !isTag(base, 2, 3), tagged && !isTag(region, 2, 20):
		return ""
	}
	for line := range strings.SplitSeq(languages, "\n") {
		if words := strings.Fields(line); words[0] == base || words[1] == base || words[2] == base {
			base = words[0]
			break
		}
	}
	if tagged {
		return base + "-" + region
	}
	return base
}

// knownLanguage reports whether a word is a language known here.
func knownLanguage(word string) bool {
	base, _, _ := strings.Cut(Language(word), "-")
	return base != "" && LanguageName(base) != base
}

// isTag reports whether text has letters, digits and hyphens only, and a length in
// these bounds.
func isTag(text string, least, most int) bool {
	return len(text) >= least && len(text) <= most && strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// LanguageName returns what speakers call the language of a tag that Language has
// returned; the tag itself if that is not known here.
func LanguageName(tag string) string {
	base, _, _ := strings.Cut(tag, "-")
	for line := range strings.SplitSeq(languages, "\n") {
		words := strings.Fields(line)
		if words[0] != base || tag != base {
			continue
		}
		name := strings.TrimPrefix(line, words[0]+" "+words[1]+" ")
		if r := words[2][0]; r >= 'a' && r <= 'z' { // the code of a library
			name = strings.TrimPrefix(name, words[2]+" ")
		}
		return name
	}
	return tag
}

// LanguageCode returns the code of ISO 639-2 for a tag, which MP4 and Matroska want;
// "und" if there is none.
func LanguageCode(tag string) string {
	base, _, _ := strings.Cut(tag, "-")
	for line := range strings.SplitSeq(languages, "\n") {
		if words := strings.Fields(line); words[0] == base {
			return words[1]
		}
	}
	if len(base) == 3 {
		return base
	}
	return "und"
}
