package adapt

import (
	"fmt"

	"pibootd/pkg/rootfs/confine"
)

// containers notes programs that keep their layers in overlayfs, which Linux does not lay over
// NFS: it wants extended attributes and whiteouts that NFSv3 does not have.
func (a *adapter) containers() error {
	const cure = "its containers need another place than the root, as Linux mounts no overlay on NFS: give the board a disk, or a file system in a file, for %s"
	for _, engine := range []struct{ file, data string }{
		{"usr/bin/dockerd", "/var/lib/docker"}, {"usr/sbin/dockerd", "/var/lib/docker"}, {"usr/bin/podman", "/var/lib/containers"},
		{"usr/local/bin/k3s", "/var/lib/rancher"}, {"usr/bin/k3s", "/var/lib/rancher"}, {"usr/bin/containerd", "/var/lib/containerd"},
	} {
		if confine.Exists(a.root, engine.file) {
			a.note(engine.file, fmt.Sprintf(cure, engine.data))
		}
	}
	return nil
}
