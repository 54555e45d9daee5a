package nfs

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
