package diagnosis

import (
	"fmt"
	"strings"
)

// A Code names a diagnosis for programs. It does not change.
type Code string

// The codes.
const (
	OK        Code = "well"
	OnItsWay  Code = "booting"
	ShutDown  Code = "shut_down"
	NeverSeen Code = "never_seen"
	Silent    Code = "silent"
	Unseen    Code = "unseen"
	Locked    Code = "worker_locked"

	NoOffer        Code = "no_offer"
	OfferIgnored   Code = "offer_ignored"
	OtherServer    Code = "other_dhcp_server"
	AddressRefused Code = "address_refused"
	AddressInUse   Code = "address_in_use"
	NoTFTP         Code = "no_tftp"
	LateDiscover   Code = "late_discover"

	WrongPrefix      Code = "wrong_prefix"
	SerialMismatch   Code = "serial_mismatch"
	MissingBootCode  Code = "missing_boot_code"
	MissingFirmware  Code = "missing_firmware"
	MissingTree      Code = "missing_device_tree"
	MissingKernel    Code = "missing_kernel"
	MissingInitramfs Code = "missing_initramfs"
	NoBootFiles      Code = "no_boot_files"
	TransferBlocked  Code = "transfer_blocked"
	TransferMTU      Code = "transfer_mtu"
	TransferLoss     Code = "transfer_loss"
	TransferFailed   Code = "transfer_failed"
	FirmwareSilent   Code = "firmware_silent"

	KernelSilent   Code = "kernel_silent"
	KernelTooSmall Code = "kernel_32_bit"
	KernelModules  Code = "kernel_modules"
	KernelStopped  Code = "kernel_stopped"
	KernelPanic    Code = "kernel_panic"
	NoMount        Code = "no_mount"
	MountRefused   Code = "mount_refused"
	OtherAddress   Code = "other_address"
	StrayMount     Code = "stray_mount"
	RootFailed     Code = "root_failed"
	OldHandles     Code = "old_handles"

	NoInit        Code = "no_init"
	InitSilent    Code = "init_silent"
	ShareRefused  Code = "share_refused"
	WorkerRefused Code = "worker_refused"
	WorkerSilent  Code = "worker_silent"
	NoWorker      Code = "no_worker"
	NoFFmpeg      Code = "no_ffmpeg"

	RebootLoop   Code = "reboot_loop"
	SlowStage    Code = "slow_stage"
	UnderVoltage Code = "under_voltage"
	Throttled    Code = "throttled"
	ClockWrong   Code = "clock_wrong"
	RootReadOnly Code = "root_read_only"
	RootFull     Code = "root_full"
)

// An Entry is what is said with a code. Words in braces are replaced by facts.
type Entry struct {
	Code             Code
	State            State
	Sentence, Action string
}

// Catalogue returns everything that a diagnosis can say, in the order of a boot.
func Catalogue() []Entry { return append([]Entry{}, catalogue...) }

const (
	fromTemplate = "Give it a root of a template that is for this model (pibootd reset-pi {pi} --to TEMPLATE), or put the file into its boot directory."
	atConsole    = "Look at its console; pibootd show-pi --boot {pi} prints its kernel arguments."
	freshRoot    = "Give it a fresh root: pibootd reset-pi {pi}."
)

var catalogue = []Entry{
	{OK, Well, "{pi} is up, and its worker is online.", ""},
	{Locked, Well, "{pi} is up, and its worker refuses work: {reason}.", "See to that on the board; it looks again by itself."},
	{OnItsWay, Booting, "{pi} boots: {doing}.", ""},
	{ShutDown, Off, "{pi} was shut down, or its worker was stopped.", ""},
	{NeverSeen, Off, "{pi} has never been seen.", "Power it on; docs/boot.md says how each model is set to boot from the network."},
	{Silent, Stuck, "{pi} was up and has fallen silent without being shut down: its power or its network is gone, or it hangs.", "Look at its power and its cable; if both are good, look at its console."},

	{NoOffer, Stuck, "{pi} asks for an address and is offered none: {reason}.", "Remove the reason, or give the board another address: pibootd edit-pi {pi} --ip ADDRESS."},
	{OfferIgnored, Stuck, "{pi} has asked for an address {times} and accepted no offer: another DHCP server is faster, or the offers do not reach it.", "Look for other DHCP servers with pibootd doctor, then at the switch between."},
	{OtherServer, Stuck, "{pi} accepted the offer of another DHCP server, {server}.", "Have that server ignore {mac}, or stop it."},
	{AddressRefused, Stuck, "{pi} was refused the address that it asked for: {reason}.", "Power it off and on; if that repeats, another DHCP server gave it that address."},
	{AddressInUse, Stuck, "{ip}, the address of {pi}, is used by another host, {user}.", "Give that host another address, or the board: pibootd edit-pi {pi} --ip ADDRESS."},
	{NoTFTP, Stuck, "{pi} has got its address {times} and asks for no file.", "Let UDP port 69 through each firewall between; then try pibootd edit-pi {pi} --boot-menu dnsmasq."},
	{LateDiscover, Slow, "{pi} asks for an address only {seconds} s after each restart, so its switch port is blocked for that long (spanning tree).", "Set the switch port to edge or portfast."},

	{WrongPrefix, Stuck, "{pi} asks for its files in {prefix}, and its own directory is {serial}.", "Take TFTP_PREFIX out of its bootloader's configuration (sudo rpi-eeprom-config --edit), or register it with its own serial number."},
	{SerialMismatch, Stuck, "{pi} is registered with the serial number {serial}, and its boot code says {other}.", "Register it with its own: pibootd remove-pi {pi}, then pibootd add-pi --serial {other}."},
	{MissingBootCode, Stuck, "{pi} is a Raspberry Pi {model} and finds no boot code, {file}.", fromTemplate},
	{MissingFirmware, Stuck, "{pi} is a Raspberry Pi {model} and finds no firmware, {file}.", fromTemplate},
	{MissingTree, Stuck, "{pi} is a Raspberry Pi {model} and finds no device tree, {file}.", fromTemplate},
	{MissingKernel, Stuck, "{pi} is a Raspberry Pi {model} and finds no kernel, {file}.", fromTemplate},
	{MissingInitramfs, Stuck, "{pi} is a Raspberry Pi {model} and finds no initramfs, {file}, which its config.txt names.", "Put that file into its boot directory, or take the line out of config.txt."},
	{NoBootFiles, Stuck, "{pi} is served no boot files: {reason}.", freshRoot},
	{TransferBlocked, Stuck, "{pi} asks for {file} and confirms none of its packets: something between drops them.", "Let all UDP ports between this machine and the board through each firewall, not only port 69."},
	{TransferMTU, Stuck, "{file} stalls at block {block} of {blocks}, the first full packet to {pi}: small packets arrive, large ones do not.", "Let packets of 1500 bytes through: look at the MTU of each switch, VLAN and tunnel between."},
	{TransferLoss, Stuck, "{file} stalls at block {block} of {blocks} on its way to {pi}: packets are lost.", "Try another cable and another port of the switch."},
	{TransferFailed, Stuck, "{pi} cannot be sent {file}: {reason}.", "Look at the disk with pibootd doctor; the daemon's log says more."},
	{FirmwareSilent, Stuck, "{pi} asked for {file} last and then for nothing more, though its kernel is still to come.", "Power it off and on; if that repeats, compare its boot files with its template: pibootd drift-pi {pi}."},

	{KernelSilent, Stuck, "{pi} loaded {file} and has sent nothing since: this kernel does not run on the board, or it has no driver for its network.", atConsole},
	{KernelTooSmall, Stuck, "{pi} loaded {file}, a 32-bit kernel, which cannot start the programs of its 64-bit root.", fromTemplate},
	{KernelModules, Stuck, "{pi} loaded {file}, whose modules are not in its root, and has sent nothing since: {reason}.", "Finish the upgrade on the board, or give it a fresh root: pibootd reset-pi {pi}."},
	{Unseen, Stuck, "{pi} loaded {file}, and its worker has not reported; what it did between is not seen, because nfsd serves its root.", atConsole},
	{KernelStopped, Stuck, "{pi} runs its kernel, which has not mounted its root; it logged last: {line}.", "See what it logged before: pibootd watch --logs {pi}."},
	{KernelPanic, Stuck, "The kernel of {pi} has stopped: {line}.", "See what it logged before: pibootd watch --logs {pi}."},
	{NoMount, Stuck, "{pi} runs its kernel, which has an address and does not ask for its root.", atConsole},
	{MountRefused, Stuck, "{pi} was refused its root: {reason}.", "Compare its address and its root= with those registered: pibootd show-pi {pi}."},
	{OtherAddress, Stuck, "{pi} asked for its root from {addr}, not from {ip} as registered: another DHCP server has answered it.", "Have that server ignore {mac}, or leave boot.ip of pibootd's configuration at its default."},
	{StrayMount, Stuck, "{addr} was refused the root of {pi}; if that is the board itself, another DHCP server has given it that address.", "Have that server ignore {mac}, or leave boot.ip of pibootd's configuration at its default."},
	{RootFailed, Stuck, "The root of {pi} cannot be served: {reason}.", "Remove the reason and restart pibootd, or give the board a fresh root: pibootd reset-pi {pi}."},
	{OldHandles, Stuck, "{pi} hangs: it uses file handles that this pibootd has not made, as boards do that ran while a backup was restored.", "Switch it off and on."},

	{NoInit, Stuck, "{pi} mounted its root, which has no init (/sbin/init).", freshRoot},
	{InitSilent, Stuck, "{pi} mounted its root and has sent nothing since: its system does not come up, or its worker does not start.", "Look at its console; if it answers ssh, systemctl status pibootd-worker on it says why."},
	{ShareRefused, Stuck, "{pi} runs, and its worker was refused {export}: {reason}.", "Compare its address with the registered one: pibootd show-pi {pi}."},
	{WorkerRefused, Stuck, "{pi} runs, and the queue refuses its worker: {reason}.", "Restart pibootd, which puts the settings of the worker into the root; if that does not help, pibootd reset-pi {pi}."},
	{WorkerSilent, Stuck, "{pi} runs, and its worker has not reached the queue.", "Let the queue's TCP port through each firewall; journalctl -u pibootd-worker on the board says more."},
	{NoWorker, Stuck, "{pi} runs, and its worker has not started.", "systemctl status pibootd-worker on the board says why."},
	{NoFFmpeg, Stuck, "{pi} is up, and its worker has no ffmpeg that works: {reason}.", "Install it on the board: apt-get install ffmpeg; then systemctl restart pibootd-worker."},

	{RebootLoop, Stuck, "{pi} has started {times} in {minutes} and came no further than {what}.", "Look at its console and at its power supply."},
	{SlowStage, Slow, "{pi} took {seconds} s for {what}, for which it usually takes {median} s.", "If that repeats, look at its cable, and at what else keeps this machine and the network busy."},
	{UnderVoltage, Slow, "{pi} has had too little voltage since it was started, so it works slower or fails.", "Give it the power supply that is made for its model, and a short cable."},
	{Throttled, Slow, "{pi} has been too hot since it was started, so it works slower.", "Give it a heat sink or a fan, and more room."},
	{ClockWrong, Slow, "The clock of {pi} is {seconds} s {fast}.", "Let it reach a time server: timedatectl on the board says which it asks."},
	{RootReadOnly, Stuck, "{pi} is up, and its root is read-only.", "Look at root= and /etc/fstab on the board, and at the disk with pibootd doctor."},
	{RootFull, Stuck, "{pi} is up, and its root is full: {free} MB are free.", "Make room on this machine, or in the board's root."},
}

func entryOf(code Code) Entry {
	for _, e := range catalogue {
		if e.Code == code {
			return e
		}
	}
	return Entry{Code: code, State: Stuck, Sentence: string(code)}
}

// A finding is a code with the facts for its words in braces.
type finding struct {
	code  Code
	words map[string]string
}

// say returns a finding. words are keys and values in turn.
func say(code Code, words ...any) *finding {
	f := &finding{code, map[string]string{}}
	for i := 0; i+1 < len(words); i += 2 {
		f.words[fmt.Sprint(words[i])] = fmt.Sprint(words[i+1])
	}
	return f
}

// fill replaces the words in braces.
func (f *finding) fill(text string, facts Facts) string {
	pairs := []string{"{pi}", facts.Name, "{serial}", facts.Serial.String(), "{mac}", facts.MAC.String(), "{ip}", facts.IP.String(), "{model}", facts.Model}
	for key, value := range f.words {
		pairs = append(pairs, "{"+key+"}", strings.TrimRight(value, "."))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
