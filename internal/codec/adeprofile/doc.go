// Package adeprofile reads and checks the JSON of enrollment profiles for
// Automated Device Enrollment (contracts/apple.md 4.5), before one is defined
// at Apple: Apple's answer names one fault at a time, and takes some profiles
// that no device can use.
//
// It owns which keys there are and what contradicts what. Keys that the server
// sets itself are refused in what people write. Unknown keys are refused with
// the nearest known name; unknown steps of skip_setup_items are warned of only,
// because new systems bring new ones.
package adeprofile
