// Package slogx builds the process's logger: JSON or text, attributes carried
// in the context, and a buffered writer that keeps the disk off the hot path.
//
// The writer never blocks a request: when the sink stalls for so long that
// the buffer is full, lines are dropped, counted, and the count is written as
// soon as the sink takes lines again. Flush before the process ends.
package slogx
