package mdmcmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

func doc(inner string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>` + inner + `</dict></plist>`)
}

func str(k, v string) string { return "<key>" + k + "</key><string>" + v + "</string>" }

func TestTheSenderFollowsFromTheFieldsPresent(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want fleet.EnrollmentKey
	}{
		"device":      {str("UDID", "U"), fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: "U"}},
		"user":        {str("UDID", "U") + str("UserID", "X"), fleet.EnrollmentKey{Channel: fleet.ChannelUser, ID: "U:X", ParentID: "U"}},
		"shared iPad": {str("UDID", "U") + str("UserID", sharedIPadUser) + str("UserShortName", "a@b"), fleet.EnrollmentKey{Channel: fleet.ChannelSharedIPad, ID: "U:a@b", ParentID: "U"}},
		"BYOD":        {str("EnrollmentID", "E"), fleet.EnrollmentKey{Channel: fleet.ChannelBYODDevice, ID: "E"}},
		"BYOD user":   {str("EnrollmentID", "E") + str("EnrollmentUserID", "X"), fleet.EnrollmentKey{Channel: fleet.ChannelBYODUser, ID: "E:X", ParentID: "E"}},
	} {
		r, err := DecodeReport(doc(str("Status", "Idle") + test.in))
		if err != nil || r.Key != test.want {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestMessagesThatMakeNoSenseAreRefused(t *testing.T) {
	udid := str("UDID", "U")
	for name, in := range map[string]string{
		"no status":             udid,
		"no sender":             str("Status", "Idle"),
		"unknown status":        udid + str("Status", "Maybe"),
		"answer without a UUID": udid + str("Status", "Acknowledged"),
		"colon in the UDID":     str("UDID", "A:B") + str("Status", "Idle"),
		"endless UDID":          str("UDID", strings.Repeat("x", 1000)) + str("Status", "Idle"),
		"endless CommandUUID":   udid + str("Status", "Acknowledged") + str("CommandUUID", strings.Repeat("x", 1000)),
	} {
		if r, err := DecodeReport(doc(in)); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
	c, err := DecodeCheckin(doc(udid + str("MessageType", "TokenUpdate") + str("Topic", "t") + str("PushMagic", "m")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TokenUpdate(); err == nil {
		t.Error("a TokenUpdate without Token was accepted")
	}
	c, err = DecodeCheckin(doc(udid + str("UserID", "x") + str("MessageType", "Authenticate") + str("Topic", "t")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(); err == nil {
		t.Error("an Authenticate of a user channel was accepted")
	}
}

func TestACommandKeepsItsContentAndItsUUID(t *testing.T) {
	body := doc(str("CommandUUID", "mine") + "<key>Command</key><dict>" + str("RequestType", "ProfileList") + "</dict>")
	c, err := DecodeCommand(body, "new")
	if err != nil || c.UUID != "mine" || c.RequestType != "ProfileList" || Field(c.Raw, "RequestType") != "ProfileList" {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = DecodeCommand(doc("<key>Command</key><dict>"+str("RequestType", "ProfileList")+"</dict>"), "new")
	if err != nil || c.UUID != "new" {
		t.Fatalf("%+v, %v", c, err)
	}
	if d, err := plist.ReadDict(c.Raw); err != nil || d.Text("CommandUUID") != "new" {
		t.Fatalf("the UUID is not in the body: %v", err)
	}
	for name, in := range map[string][]byte{
		"no command":     doc(str("CommandUUID", "x")),
		"no type":        doc("<key>Command</key><dict/>"),
		"a profile":      doc(str("PayloadType", "Configuration")),
		"text":           []byte("hello"),
		"binary":         []byte("bplist00"),
		"UUID not ASCII": doc(str("CommandUUID", "a\u00e9") + "<key>Command</key><dict>" + str("RequestType", "X") + "</dict>"),
		"UUID with NUL":  doc(str("CommandUUID", "a\x00b") + "<key>Command</key><dict>" + str("RequestType", "X") + "</dict>"),
		"UUID no string": doc("<key>CommandUUID</key><true/><key>Command</key><dict>" + str("RequestType", "X") + "</dict>"),
	} {
		if _, err := DecodeCommand(in, "new"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWhatIsSentIsWhatWasJudged(t *testing.T) {
	erase, ask := str("RequestType", "EraseDevice"), str("RequestType", "DeviceInformation")
	inner := func(fields string) string { return "<key>Command</key><dict>" + fields + "</dict>" }
	for name, fields := range map[string]string{
		"the type twice":      str("CommandUUID", "u") + inner(erase+ask),
		"the type by entity":  str("CommandUUID", "u") + inner(erase+strings.Replace(ask, "RequestType", "&#82;equestType", 1)),
		"the command twice":   str("CommandUUID", "u") + inner(erase) + inner(ask),
		"the UUID twice":      str("CommandUUID", "u") + str("CommandUUID", "v") + inner(ask),
		"a field below twice": inner(ask + "<key>A</key><array><dict>" + str("B", "1") + str("B", "2") + "</dict></array>"),
	} {
		if c, err := DecodeCommand(doc(fields), "new"); err == nil {
			t.Errorf("%s: accepted as %s", name, c.RequestType)
		}
	}
	c, err := DecodeCommand(doc(str("CommandUUID", "u")+inner("<!-- <key>RequestType</key><string>EraseDevice</string> -->"+ask)), "new")
	if err != nil || strings.Contains(string(c.Raw), "EraseDevice") {
		t.Errorf("%v, sent %s", err, c.Raw)
	}
}

func TestVitalsComeInUnitsOfTheAPI(t *testing.T) {
	r, err := DecodeReport(doc(str("UDID", "U") + str("Status", "Acknowledged") + str("CommandUUID", "c") +
		"<key>QueryResponses</key><dict>" + str("ProductName", "iPad14,1") + str("OSVersion", "18.1") +
		"<key>DeviceCapacity</key><real>64</real><key>AvailableDeviceCapacity</key><integer>-1</integer><key>IsSupervised</key><true/></dict>"))
	if err != nil {
		t.Fatal(err)
	}
	v := Vitals(r.Dict)
	if v == nil || v.Model != "iPad14,1" || v.DiskTotalGB == nil || int(*v.DiskTotalGB) != 68 || v.DiskAvailableGB != nil || v.Supervised == nil || !*v.Supervised {
		t.Fatalf("%+v", v)
	}
}

func TestTheErrorChainIsRead(t *testing.T) {
	d, err := plist.ReadDict(doc("<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>12021</integer>" + str("ErrorDomain", "MCMDMErrorDomain") +
		str("USEnglishDescription", "no such command") + "</dict><string>junk</string></array>"))
	if err != nil {
		t.Fatal(err)
	}
	chain := ErrorChain(d)
	if len(chain) != 1 || chain[0].Code != 12021 || chain[0].Domain != "MCMDMErrorDomain" {
		t.Fatalf("%+v", chain)
	}
}

// The recorded messages of NanoMDM's own tests are real ones.
func TestRecordedMessagesOfOtherServersAreRead(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/micromdm/nanomdm").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "mdm", "testdata", "*.plist"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := plist.ReadDict(data)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
			continue
		}
		switch {
		case d.Text("MessageType") != "":
			_, err = DecodeCheckin(data)
		case d.Text("Status") != "":
			_, err = DecodeReport(data)
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(doc(str("UDID", "U") + str("Status", "Idle")))
	f.Add(doc(str("UDID", "U") + str("MessageType", "TokenUpdate") + "<key>Token</key><data>AA==</data>" + str("PushMagic", "m") + str("Topic", "t")))
	f.Add(doc("<key>Command</key><dict>" + str("RequestType", "ProfileList") + "</dict>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := DecodeCheckin(data); err == nil {
			_, _ = c.Authenticate()
			_, _ = c.TokenUpdate()
			if c.Key.ID == "" {
				t.Fatal("a check-in without a sender")
			}
		}
		if r, err := DecodeReport(data); err == nil {
			ErrorChain(r.Dict)
			Vitals(r.Dict)
		}
		if c, err := DecodeCommand(data, "u"); err == nil && (c.UUID == "" || c.RequestType == "") {
			t.Fatal("a command without identifier or type")
		}
	})
}
