package nfs

// nfsProgram is NFS version 3 (RFC 1813 §3.3), in order of procedure number.
func nfsProgram() program {
	return program{number: 100003, version: 3, procedures: []procedure{
		{name: "NULL", run: (*call).null, quick: true},
		{name: "GETATTR", run: (*call).getattr, quick: true},
		{name: "SETATTR", run: (*call).setattr, once: true},
		{name: "LOOKUP", run: (*call).lookup, quick: true},
		{name: "ACCESS", run: (*call).access, quick: true},
		{name: "READLINK", run: (*call).readlink, quick: true},
		{name: "READ", run: (*call).read, quick: true},
		{name: "WRITE", run: (*call).write, once: true},
		{name: "CREATE", run: (*call).create, once: true},
		{name: "MKDIR", run: (*call).mkdir, once: true},
		{name: "SYMLINK", run: (*call).symlink, once: true},
		{name: "MKNOD", run: (*call).mknod, once: true},
		{name: "REMOVE", run: (*call).remove, once: true},
		{name: "RMDIR", run: (*call).rmdir, once: true},
		{name: "RENAME", run: (*call).rename, once: true},
		{name: "LINK", run: (*call).link, once: true},
		{name: "READDIR", run: (*call).readdir, quick: true},
		{name: "READDIRPLUS", run: (*call).readdirplus, quick: true},
		{name: "FSSTAT", run: (*call).fsstat, quick: true},
		{name: "FSINFO", run: (*call).fsinfo, quick: true},
		{name: "PATHCONF", run: (*call).pathconf, quick: true},
		{name: "COMMIT", run: (*call).commit},
	}}
}

// null is procedure 0 of every program.
func (c *call) null() error { return nil }
