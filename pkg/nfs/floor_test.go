package nfs

import (
	"testing"
	"time"
)

// TestIntake: what was taken is forgotten, half of it in a day.
func TestIntake(t *testing.T) {
	var i intake
	now := time.Unix(1e9, 0)
	i.add(cost{bytes: 1000, names: 8}, now)
	i.add(cost{bytes: -5, names: -5}, now.Add(intakeHalf))
	if i.bytes != 500 || i.names != 4 {
		t.Errorf("after a day it is %v bytes, %v names; want 500, 4", i.bytes, i.names)
	}
	i.add(cost{bytes: 100}, now.Add(3*intakeHalf))
	if i.bytes != 225 || i.names != 1 {
		t.Errorf("after three days it is %v bytes, %v names; want 225, 1", i.bytes, i.names)
	}
}
