package mdmcmd

import (
	"bytes"
	"testing"

	"github.com/muster-mdm/muster/internal/codec/plist"
)

func TestWhatOpensADeviceIsHidden(t *testing.T) {
	plain, err := New("U", "DeviceLock", map[string]any{"Message": "PIN follows"})
	if err != nil {
		t.Fatal(err)
	}
	if got := Redacted(plain.Raw); !bytes.Equal(got, plain.Raw) {
		t.Errorf("a command without secrets became %s", got)
	}
	full, err := WithFields(plain.Raw, map[string]any{"PIN": "123456", "UnlockToken": []byte("token"), "NewPassword": "pass"})
	if err != nil {
		t.Fatal(err)
	}
	if Field(full, "PIN") != "123456" || Field(full, "Message") != "PIN follows" {
		t.Errorf("the fields are %s", full)
	}
	got := Redacted(full)
	for _, secret := range []string{"123456", "pass<", "dG9rZW4="} {
		if bytes.Contains(got, []byte(secret)) {
			t.Errorf("%s shows %s", got, secret)
		}
	}
	if Field(got, "PIN") != Hidden || Field(got, "Message") != "PIN follows" {
		t.Errorf("what is left is %s", got)
	}
	answer := []byte(`<plist version="1.0"><dict><key>Status</key><string>Acknowledged</string><key>ActivationLockBypassCode</key><string>AAAAA</string></dict></plist>`)
	if got := Redacted(answer); bytes.Contains(got, []byte("AAAAA")) || !bytes.Contains(got, []byte("Acknowledged")) {
		t.Errorf("an answer became %s", got)
	}
	if got := Redacted([]byte("PIN but no property list")); got != nil {
		t.Errorf("what cannot be read became %s", got)
	}
	if _, err := WithFields([]byte(`<plist version="1.0"><dict/></plist>`), nil); err == nil {
		t.Error("there was no Command dictionary")
	}
}

func TestAPlaceIsHidden(t *testing.T) {
	answer := []byte(`<plist version="1.0"><dict><key>Status</key><string>Acknowledged</string><key>Latitude</key><real>52.5</real><key>Longitude</key><real>13.4</real></dict></plist>`)
	if got := Placeless(answer); bytes.Contains(got, []byte("52.5")) || bytes.Contains(got, []byte("13.4")) || !bytes.Contains(got, []byte("Acknowledged")) {
		t.Errorf("it shows %s", got)
	}
	if got := Redacted(answer); !bytes.Equal(got, answer) {
		t.Errorf("for those who may act it is %s", got)
	}
}

func TestSecretsInsideDictionariesAndListsAreHidden(t *testing.T) {
	cmd, err := New("U", "RotateFileVaultKey", map[string]any{"KeyType": "personal", "FileVaultUnlock": map[string]any{"Password": "OLD-KEY"},
		"AutoSetupAdminAccounts": []any{map[string]any{"shortName": "admin", "passwordHash": []byte("hash")}}})
	if err != nil {
		t.Fatal(err)
	}
	answer := []byte(`<plist version="1.0"><dict><key>List</key><array><dict><key>Password</key><string>OLD-KEY</string><key>shortName</key><string>admin</string></dict></array></dict></plist>`)
	for _, raw := range [][]byte{cmd.Raw, answer} {
		got := Redacted(raw)
		if bytes.Contains(got, []byte("OLD-KEY")) || bytes.Contains(got, []byte("aGFzaA==")) || !bytes.Contains(got, []byte("admin")) {
			t.Errorf("it shows %s", got)
		}
	}
}

// However a key is written, what stands under it is hidden.
func FuzzRedacted(f *testing.F) {
	for _, key := range []string{"PIN", " PIN ", "P&#73;N", "<![CDATA[PIN]]>", "P<!-- -->IN", "PI"} {
		f.Add([]byte(`<plist version="1.0"><dict><key>` + key + `</key><string>123456</string></dict></plist>`))
	}
	f.Add([]byte(`<plist><dict><key >PIN</key ><string>1</string></dict></plist>`))
	f.Add([]byte(`<plist><dict><key a=">">PIN</key><string>1</string></dict></plist>`))
	f.Add([]byte(`<plist><dict><key>A</key><string><![CDATA[<key>]]></string></dict></plist>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := plist.Read(raw)
		if err != nil {
			return
		}
		if got := Redacted(raw); hide(v, secretKeys) && bytes.Equal(got, raw) {
			t.Errorf("%q holds a secret and stays as it is", raw)
		}
	})
}
