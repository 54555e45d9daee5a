package transcode

import "testing"

func TestLanguage(t *testing.T) {
	for code, want := range map[string]string{
		"ger": "de", "deu": "de", "de": "de", "GER": "de", "en-US": "en-US", "pt_BR": "pt-BR", "jpn": "ja", "gsw": "gsw",
		"und": "", "": "", "x": "", "zxx": "", "mul": "", "Deutsch": "", "d\"e": "", "en-": "",
	} {
		if got := Language(code); got != want {
			t.Errorf("Language(%q) = %q; want %q", code, got, want)
		}
	}
	for tag, want := range map[string]string{"de": "Deutsch", "zh": "中文", "id": "Bahasa Indonesia", "nb": "Norsk bokmål", "pt-BR": "pt-BR", "gsw": "gsw", "": ""} {
		if got := LanguageName(tag); got != want {
			t.Errorf("LanguageName(%q) = %q; want %q", tag, got, want)
		}
	}
	for tag, want := range map[string]string{"de": "deu", "zh": "zho", "pt-BR": "por", "gsw": "gsw", "xx": "und", "": "und"} {
		if got := LanguageCode(tag); got != want {
			t.Errorf("LanguageCode(%q) = %q; want %q", tag, got, want)
		}
	}
}
