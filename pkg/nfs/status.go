package nfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A status is an nfsstat3 or mountstat3 (RFC 1813 §2.6 and §5.1.5).
type status uint32

const (
	statusOK          status = 0
	statusPerm        status = 1
	statusNoEnt       status = 2
	statusIO          status = 5
	statusNXIO        status = 6
	statusAcces       status = 13
	statusExist       status = 17
	statusXDev        status = 18
	statusNoDev       status = 19
	statusNotDir      status = 20
	statusIsDir       status = 21
	statusInval       status = 22
	statusFBig        status = 27
	statusNoSpc       status = 28
	statusROFS        status = 30
	statusMLink       status = 31
	statusNameTooLong status = 63
	statusNotEmpty    status = 66
	statusDQuot       status = 69
	statusStale       status = 70
	statusBadHandle   status = 10001
	statusNotSync     status = 10002
	statusBadCookie   status = 10003
	statusNotSupp     status = 10004
	statusTooSmall    status = 10005
	statusServerFault status = 10006
	statusBadType     status = 10007
	statusJukebox     status = 10008
)

// statusNames are the names of RFC 1813, without NFS3ERR_.
var statusNames = map[status]string{
	statusPerm:        "PERM",
	statusNoEnt:       "NOENT",
	statusIO:          "IO",
	statusNXIO:        "NXIO",
	statusAcces:       "ACCES",
	statusExist:       "EXIST",
	statusXDev:        "XDEV",
	statusNoDev:       "NODEV",
	statusNotDir:      "NOTDIR",
	statusIsDir:       "ISDIR",
	statusInval:       "INVAL",
	statusFBig:        "FBIG",
	statusNoSpc:       "NOSPC",
	statusROFS:        "ROFS",
	statusMLink:       "MLINK",
	statusNameTooLong: "NAMETOOLONG",
	statusNotEmpty:    "NOTEMPTY",
	statusDQuot:       "DQUOT",
	statusStale:       "STALE",
	statusBadHandle:   "BADHANDLE",
	statusNotSync:     "NOT_SYNC",
	statusBadCookie:   "BAD_COOKIE",
	statusNotSupp:     "NOTSUPP",
	statusTooSmall:    "TOOSMALL",
	statusServerFault: "SERVERFAULT",
	statusBadType:     "BADTYPE",
	statusJukebox:     "JUKEBOX",
}

func (s status) String() string {
	if s == statusOK {
		return "NFS3_OK"
	}
	if name, ok := statusNames[s]; ok {
		return "NFS3ERR_" + name
	}
	return fmt.Sprintf("NFS status %d", uint32(s))
}

func (s status) Error() string { return s.String() }

// errnoStatus says which status stands for a system call's error.
var errnoStatus = map[unix.Errno]status{
	unix.EPERM:        statusPerm,
	unix.ENOENT:       statusNoEnt,
	unix.EIO:          statusIO,
	unix.ENXIO:        statusNXIO,
	unix.EACCES:       statusAcces,
	unix.EEXIST:       statusExist,
	unix.EXDEV:        statusXDev,
	unix.ENODEV:       statusNoDev,
	unix.ENOTDIR:      statusNotDir,
	unix.EISDIR:       statusIsDir,
	unix.EINVAL:       statusInval,
	unix.EFBIG:        statusFBig,
	unix.ENOSPC:       statusNoSpc,
	unix.EROFS:        statusROFS,
	unix.EMLINK:       statusMLink,
	unix.ENAMETOOLONG: statusNameTooLong,
	unix.ENOTEMPTY:    statusNotEmpty,
	unix.EDQUOT:       statusDQuot,
	unix.ESTALE:       statusStale,
	unix.EOPNOTSUPP:   statusNotSupp,
	unix.ELOOP:        statusInval, // a symbolic link where a file was wanted
	unix.EBUSY:        statusAcces,
	unix.ETXTBSY:      statusAcces,
	// The server is short of something: the client is to try again later.
	unix.ENOMEM: statusJukebox,
	unix.EAGAIN: statusJukebox,
	unix.EMFILE: statusJukebox,
	unix.ENFILE: statusJukebox,
}

// statusOf is the status that a client gets for err.
func statusOf(err error) status {
	if err == nil {
		return statusOK
	}
	var s status
	if errors.As(err, &s) {
		return s
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		if s, ok := errnoStatus[errno]; ok {
			return s
		}
		return statusIO
	}
	return statusServerFault
}
