// Package command sends MDM commands and keeps their answers.
//
// A command of a person stays in the history. One by which Muster itself asks
// for facts is erased with its answer, so that tables do not grow. What
// follows from an answer is one pure function, Outcome; whether the store
// keeps or erases it is part of that decision.
//
// Devices are woken by Pusher: whoever has waiting commands is due, again and
// again with growing pauses, until nothing waits. A command for very many is
// queued in batches that are pushed to as they are queued; their first push is
// noted as due only where it did not happen.
package command
