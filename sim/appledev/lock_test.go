package appledev_test

import (
	"errors"
	"testing"

	"github.com/muster-mdm/muster/sim/appledev"
)

func TestALockedMacRunsNothingUntilItsPINIsEntered(t *testing.T) {
	s := start(t)
	d := s.device(t, appledev.Mac, appledev.Options{})
	if a := s.ask(t, d, 0, "DeviceLock", fields{"PIN": "12"}); a["Status"] != "CommandFormatError" || d.Locked() {
		t.Fatalf("a short PIN: %v", a)
	}
	s.enqueue("DeviceLock", fields{"PIN": "123456"})
	s.enqueue("DeviceInformation", fields{"Queries": []string{"DeviceName"}})
	poll(t, d)
	for _, m := range s.take() {
		if m.body["QueryResponses"] != nil {
			t.Error("a locked Mac answered")
		}
	}
	if _, err := d.Poll(t.Context()); !errors.Is(err, appledev.ErrLocked) {
		t.Errorf("a locked Mac connects: %v", err)
	}
	if d.EnterPIN("654321") || !d.EnterPIN("123456") || d.Locked() {
		t.Error("the PIN opens nothing, or a wrong one does")
	}
	poll(t, d)
	if got := s.take(); len(got) < 2 || got[1].body["QueryResponses"] == nil {
		t.Errorf("an open Mac said %v", got)
	}
}

func TestLostModeIsForSupervisedPhones(t *testing.T) {
	s := start(t)
	lost := spec(appledev.IPhone)
	lost.Supervised = true
	d := s.deviceOf(t, lost, appledev.Options{})
	for _, early := range []string{"DisableLostMode", "DeviceLocation", "PlayLostModeSound"} {
		if a := s.ask(t, d, 0, early, nil); a["Status"] != "Error" {
			t.Errorf("%s without Lost Mode: %v", early, a)
		}
	}
	if a := s.ask(t, d, 0, "EnableLostMode", nil); a["Status"] != "CommandFormatError" || d.Lost() != nil {
		t.Errorf("Lost Mode without a text: %v", a)
	}
	if a := s.ask(t, d, 0, "EnableLostMode", fields{"Message": "Ours"}); a["Status"] != "Acknowledged" || d.Lost() == nil || d.Lost().Message != "Ours" {
		t.Errorf("Lost Mode: %v", a)
	}
	if a := s.ask(t, d, 0, "DeviceLocation", nil); a["Latitude"] == nil || a["Timestamp"] == nil {
		t.Errorf("the location: %v", a)
	}
	info, _ := s.ask(t, d, 0, "DeviceInformation", fields{"Queries": []string{"IsMDMLostModeEnabled"}})["QueryResponses"].(fields)
	if info["IsMDMLostModeEnabled"] != true {
		t.Errorf("it says %v", info)
	}
	if a := s.ask(t, d, 0, "DisableLostMode", nil); a["Status"] != "Acknowledged" || d.Lost() != nil {
		t.Errorf("the end of Lost Mode: %v", a)
	}
	lost.Supervised = false
	if a := s.ask(t, s.deviceOf(t, lost, appledev.Options{}), 0, "EnableLostMode", fields{"Message": "Ours"}); a["Status"] != "Error" {
		t.Errorf("Lost Mode without supervision: %v", a)
	}
}

func TestSecretsThatOpenADevice(t *testing.T) {
	s := start(t)
	phone := s.device(t, appledev.IPhone, appledev.Options{})
	token := s.unlock
	if a := s.ask(t, phone, 0, "ClearPasscode", fields{"UnlockToken": []byte("other")}); a["Status"] != "Error" || !phone.HasPasscode() {
		t.Errorf("a wrong unlock token: %v", a)
	}
	if a := s.ask(t, phone, 0, "ClearPasscode", fields{"UnlockToken": token}); a["Status"] != "Acknowledged" || phone.HasPasscode() {
		t.Errorf("the unlock token: %v", a)
	}
	supervised := spec(appledev.Mac)
	supervised.Supervised = true
	mac := s.deviceOf(t, supervised, appledev.Options{})
	for _, step := range []struct {
		fields fields
		status string
		after  string
	}{
		{fields{}, "CommandFormatError", ""},
		{fields{"NewPassword": "one"}, "Acknowledged", "one"},
		{fields{"NewPassword": "two"}, "Error", "one"},
		{fields{"NewPassword": "two", "CurrentPassword": "one"}, "Acknowledged", "two"},
	} {
		if a := s.ask(t, mac, 0, "SetRecoveryLock", step.fields); a["Status"] != step.status || mac.RecoveryLock() != step.after {
			t.Errorf("%v: %v, then %q", step.fields, a, mac.RecoveryLock())
		}
	}
	for password, right := range map[string]bool{"one": false, "two": true} {
		if a := s.ask(t, mac, 0, "VerifyRecoveryLock", fields{"Password": password}); a["PasswordVerified"] != right {
			t.Errorf("%s: %v", password, a)
		}
	}
	if a := s.ask(t, mac, 0, "ActivationLockBypassCode", nil); a["ActivationLockBypassCode"] != mac.BypassCode() {
		t.Errorf("the bypass code: %v", a)
	}
}
