package cli

import "testing"

func TestNamesOfDevicesDoNotSteerTheTerminal(t *testing.T) {
	const name = "Mac\x1b]52;c;ZXZpbA==\x07\r\u202e"
	if got := printableLines("release " + name + ": no\nLog in"); got != "release Mac ]52;c;ZXZpbA==   : no\nLog in" {
		t.Errorf("it is shown as %q", got)
	}
}
