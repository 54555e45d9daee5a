package doctor

import (
	"fmt"
	"strings"
	"testing"
)

func TestWatchFolder(t *testing.T) {
	if found := (&Doctor{}).watchFolder(); len(found) != 0 {
		t.Errorf("without a watch folder: %+v; want nothing", found)
	}
	refused := map[string]string{}
	d := &Doctor{Refused: func() map[string]string { return refused }}
	if found := d.watchFolder(); len(found) != 1 || found[0].Level != OK {
		t.Errorf("of a clean folder: %+v; want one that is fine", found)
	}
	for i := range 8 {
		refused[fmt.Sprintf("inbox/%d\xff", i)] = "it is a FIFO"
	}
	found := d.watchFolder()
	if len(found) != 1 || found[0].Level != Warning || found[0].Todo == "" ||
		!strings.Contains(found[0].Text, `"inbox/0\xff": it is a FIFO`) || !strings.HasSuffix(found[0].Text, "and 3 more") {
		t.Errorf("of FIFOs: %+v; want a warning that names some of them", found)
	}
}
