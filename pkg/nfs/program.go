package nfs

import "pibootd/pkg/nfs/rpc"

// A program is what one RPC program number answers in its one version.
type program struct {
	number, version uint32
	procedures      []procedure // by number
}

// A procedure answers one kind of call; see rpc.Procedure.
type procedure struct {
	name string
	// run reads the arguments from the call and writes the results to it. It
	// returns errGarbage, and only that, for arguments that cannot be read.
	run     func(*call) error
	once    bool
	quick   func(args decoder) bool
	results func(args decoder) uint32
}

func always(decoder) bool { return true }

// bind makes p's procedures answer calls of v.
func (v *service) bind(p program) rpc.Program {
	bound := rpc.Program{Number: p.number, Version: p.version}
	for _, proc := range p.procedures {
		b := rpc.Procedure{Once: proc.once, Run: func(c *rpc.Call) []byte { return v.answer(c, proc) }}
		if proc.quick != nil {
			b.Quick = func(args rpc.Decoder) bool { return proc.quick(decoder{args}) }
		}
		if proc.results != nil {
			b.Results = func(args rpc.Decoder) uint32 { return proc.results(decoder{args}) }
		}
		bound.Procedures = append(bound.Procedures, b)
	}
	return bound
}

// nfsProgram is NFS version 3 (RFC 1813 §3.3), in order of procedure number.
func nfsProgram() program {
	return program{number: 100003, version: 3, procedures: []procedure{
		{name: "NULL", run: (*call).null, quick: always},
		{name: "GETATTR", run: (*call).getattr, quick: always},
		{name: "SETATTR", run: (*call).setattr, once: true},
		{name: "LOOKUP", run: (*call).lookup, quick: always},
		{name: "ACCESS", run: (*call).access, quick: always},
		{name: "READLINK", run: (*call).readlink, quick: always},
		{name: "READ", run: (*call).read, quick: always, results: readResults},
		{name: "WRITE", run: (*call).write, once: true, quick: unstableWrite},
		{name: "CREATE", run: (*call).create, once: true},
		{name: "MKDIR", run: (*call).mkdir, once: true},
		{name: "SYMLINK", run: (*call).symlink, once: true},
		{name: "MKNOD", run: (*call).mknod, once: true},
		{name: "REMOVE", run: (*call).remove, once: true},
		{name: "RMDIR", run: (*call).rmdir, once: true},
		{name: "RENAME", run: (*call).rename, once: true},
		{name: "LINK", run: (*call).link, once: true},
		{name: "READDIR", run: (*call).readdir, quick: always, results: readdirResults},
		{name: "READDIRPLUS", run: (*call).readdirplus, quick: always, results: readdirplusResults},
		{name: "FSSTAT", run: (*call).fsstat, quick: always},
		{name: "FSINFO", run: (*call).fsinfo, quick: always},
		{name: "PATHCONF", run: (*call).pathconf, quick: always},
		{name: "COMMIT", run: (*call).commit},
	}}
}

// null is procedure 0 of every program.
func (c *call) null() error { return nil }
