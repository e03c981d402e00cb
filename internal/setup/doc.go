// Package setup decides what happens to a device between its enrollment and
// the end of Setup Assistant (contracts/apple.md 4.6): what it waits for, when
// it is released, and what is done when that takes too long.
//
//	waiting --all steps over, or too long--> releasing --answered--> done
//	   |                                        ^
//	   +--too long, and held by policy--> held -+ a person releases it
//
// The steps are looked at, never awaited: a job reads the facts of devices that
// wait and decides anew. A device that was released by somebody else is done. A
// step that failed does not keep a device: people are told, and it is released.
// A device of which nothing is new is looked at less often; its answers to what
// it was told are looked at at once.
//
// It refuses to keep a device for ever without a person having said so: every
// wait has an end, and the end releases the device with a warning unless the
// team's settings hold it.
package setup
