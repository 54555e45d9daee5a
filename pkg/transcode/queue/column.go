package queue

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
)

// A column is a value that the database holds as JSON text.
type column[T any] struct{ V T }

// Scan implements sql.Scanner. An empty text is the zero value.
func (c *column[T]) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a JSON column holds a %T; want text", src)
	}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), &c.V)
}

// Value implements driver.Valuer.
func (c column[T]) Value() (driver.Value, error) {
	text, err := json.Marshal(c.V)
	return string(text), err
}
