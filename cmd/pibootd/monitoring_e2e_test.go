//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const monitoring = "../../docs/monitoring/"

// wantMonitored makes sure that Prometheus reads the alert rules and the queries of the
// Grafana dashboard, and that a daemon that has worked has all that they ask for.
func (l *lab) wantMonitored(t *testing.T) {
	t.Helper()
	scrape := l.scrape(t)
	rules, err := os.ReadFile(monitoring + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	checkRules(t, monitoring+"alerts.yml")
	queries := regexp.MustCompile(`(?m)^ +expr: (.+)$`).FindAllStringSubmatch(string(rules), -1)
	var asRules strings.Builder
	asRules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, query := range dashboardQueries(t) {
		queries = append(queries, []string{"", query})
		fmt.Fprintf(&asRules, "  - record: query:%d\n    expr: %q\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	putText(t, file, asRules.String())
	checkRules(t, file)
	names := regexp.MustCompile(`\b(pibootd|process|go)_\w+`)
	for _, query := range queries {
		for _, name := range names.FindAllString(query[1], -1) {
			if !strings.Contains(scrape, "\n"+name+"{") && !strings.Contains(scrape, "\n"+name+" ") {
				t.Errorf("%s asks for %s, which /metrics does not have", query[1], name)
			}
		}
	}
	if len(queries) < 30 {
		t.Errorf("rules and dashboard have %d queries; want more", len(queries))
	}
}

// scrape returns what Prometheus gets.
func (l *lab) scrape(t *testing.T) string {
	t.Helper()
	curl := l.startProgram(t, "curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "http://10.77.0.1:8080/metrics")
	if <-curl.ended; curl.err != nil {
		t.Fatalf("%v: %s", curl.err, curl.text())
	}
	return curl.text()
}

// checkRules has promtool read a file of rules, with their queries.
func checkRules(t *testing.T, file string) {
	t.Helper()
	const promtool = "../../bin/promtool"
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v; scripts/install-tools test installs promtool\n%s", file, err, out)
	}
}

// dashboardQueries returns the queries of Grafana's dashboard, with the variables that
// Grafana replaces.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	text, err := os.ReadFile(monitoring + "grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, variables.Replace(target.Expr))
		}
	}
	return queries
}
