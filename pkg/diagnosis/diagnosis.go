// Package diagnosis says in one sentence how far a board's boot has come, what is wrong with it,
// and what to do. A Board follows the events of a board's timeline; what it says of a moment
// depends on nothing but those, the time and Facts.
package diagnosis

import (
	"slices"
	"time"
)

// A Stage is a part of a boot. It begins when the one before it is over.
type Stage string

// The stages, in their order. Each ends with what is named behind it.
const (
	Power    Stage = "power"    // boot code asks for an address
	Address  Stage = "address"  // boot code asks for its first file
	Firmware Stage = "firmware" // boot code has the kernel
	Kernel   Stage = "kernel"   // the kernel has an address from DHCP, or asks for the root
	Root     Stage = "root"     // the root is mounted
	Init     Stage = "init"     // the system does something on the network
	Worker   Stage = "worker"   // the worker says hello
)

// stages are all of them, in their order.
var stages = []Stage{Power, Address, Firmware, Kernel, Root, Init, Worker}

// Stages returns all stages, in their order.
func Stages() []Stage { return slices.Clone(stages) }

// index returns the position of a stage in a boot.
func (s Stage) index() int {
	for i, stage := range stages {
		if s == stage {
			return i
		}
	}
	return 0
}

// A State is how a board is.
type State string

// The states.
const (
	Well    State = "well"    // it is up, and its worker is online
	Booting State = "booting" // it is on its way, and in time
	Stuck   State = "stuck"   // it does not go on, or not without somebody
	Off     State = "off"     // it was shut down, or has never been seen
	Slow    State = "slow"    // it works, but not as well as it should
)

// A Diagnosis is what is known of a board at a moment.
type Diagnosis struct {
	Model    string    `json:"model,omitempty"` // of the board, such as 4B, as its boot code said last; "": unknown
	State    State     `json:"state"`
	Stage    Stage     `json:"stage"`             // that it is in, or in which its boot ended
	Since    time.Time `json:"since,omitzero"`    // of the state; zero: never seen
	Deadline time.Time `json:"deadline,omitzero"` // at which the stage has to be over; zero: there is none
	Code     Code      `json:"code"`
	Sentence string    `json:"sentence"`
	Action   string    `json:"action"` // what to do; "": nothing
	Stages   []Timed   `json:"stages"` // of the last boot, up to Stage
}

// A Timed is a stage of the last boot.
type Timed struct {
	Stage   Stage     `json:"stage"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`         // until it was over, or until now
	Median  float64   `json:"median,omitzero"` // seconds, of the last boots; 0: unknown
}

// Line returns the diagnosis as one line for people.
func (d Diagnosis) Line() string {
	if d.Action == "" {
		return d.Sentence
	}
	return d.Sentence + " " + d.Action
}
