//go:build !media

package worker

// mediaLong says whether rows that are marked long are tried, and every format.
const mediaLong = false
