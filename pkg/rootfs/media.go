package rootfs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"pibootd/pkg/pi"
)

// SetServices changes what the worker in a board's root is told of the media
// share, its path and the port of NFS, 0 for the one that the portmapper
// names, and of where the queue is. Whatever else its configuration says stays.
func (r *Roots) SetServices(serial pi.Serial, export string, port int, queueURL string) error {
	err := r.change(serial, func(root *os.Root) error {
		if err := setServices(root, export, port, queueURL); err != nil {
			return fmt.Errorf("%s: %w", WorkerConfigFile, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rootfs: telling the worker of %s of the media share and the queue: %w", serial, err)
	}
	return nil
}

func setServices(root *os.Root, export string, port int, queueURL string) error {
	text, err := readText(root, WorkerConfigFile)
	if err != nil {
		return err
	}
	var is WorkerConfig
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &is); err != nil {
		return err
	}
	if is.MediaExport == export && is.NFSPort == port && is.QueueURL == queueURL {
		return nil
	}
	for key, value := range map[string]any{"media_export": export, "nfs_port": port, "queue_url": queueURL} {
		if all[key], err = json.Marshal(value); err != nil {
			return err
		}
	}
	return replaceConfig(root, all)
}

// replaceConfig has the board see the old configuration or the new one, also
// after a power cut: with the token in it, a lost one would be a lost board.
func replaceConfig(root *os.Root, config map[string]json.RawMessage) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "\t")
	if err := e.Encode(config); err != nil {
		return err
	}
	real, err := resolve(root, WorkerConfigFile)
	if err != nil {
		return err
	}
	temp := real + ".new"
	if err := putFile(root, temp, text.Bytes(), 0o600); err != nil {
		return err
	}
	file, err := root.Open(temp)
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return root.Rename(temp, real)
}
