package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"pibootd/pkg/pi"
)

// SetServices changes what the worker in a board's root is told of this
// machine. Whatever else its configuration says stays.
func (r *Roots) SetServices(serial pi.Serial, services Services) error {
	err := r.change(serial, func(root *os.Root) error {
		if err := setServices(root, services); err != nil {
			return fmt.Errorf("%s: %w", WorkerConfigFile, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rootfs: telling the worker of %s of the media share and the queue: %w", serial, err)
	}
	return nil
}

func setServices(root *os.Root, services Services) error {
	text, err := readText(root, WorkerConfigFile)
	if err != nil {
		return err
	}
	want, err := json.Marshal(services)
	if err != nil {
		return err
	}
	var all, keys map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &all), json.Unmarshal(want, &keys)); err != nil {
		return err
	}
	if all == nil { // as "null" gives it
		return fmt.Errorf("got %.20q; want a JSON object", text)
	}
	changed := false
	for key, value := range keys {
		if !bytes.Equal(all[key], value) { // text, number or null: one form each
			all[key], changed = value, true
		}
	}
	if !changed {
		return nil
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
