//go:build media

package worker

const mediaLong = true
