package main

import (
	"strings"
	"testing"

	"pibootd/pkg/doctor"
)

func TestFindingsAreLines(t *testing.T) {
	var out strings.Builder
	err := printFindings(&out, []doctor.Finding{
		{Subject: "dhcp", Level: doctor.OK, Text: "no other"},
		{Subject: "hlspi1", Level: doctor.Problem, Text: "may not\nmount\x1b[2J", Todo: "restart"},
	})
	want := "ok       dhcp    no other\nproblem  hlspi1  may not?mount?[2J\n                 -> restart\n"
	if err != nil || out.String() != want {
		t.Errorf("printFindings = %q, %v; want %q", out.String(), err, want)
	}
}
