//go:build !386 && !arm

package nfs

import "golang.org/x/sys/unix"

// sysSetGroups is the call that takes 32-bit group ids.
const sysSetGroups = unix.SYS_SETGROUPS
