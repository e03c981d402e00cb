package plist

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	howett "howett.net/plist"
)

const sample = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<!-- hello -->
<dict>
	<key>Status</key><string>Idle &amp; &#x4e2d; <![CDATA[<b>]]></string>
	<key>Empty</key><string/>
	<key>N</key><integer>-7</integer><key>Big</key><integer>18446744073709551615</integer>
	<key>Yes</key><true/><key>No</key><false></false>
	<key>Token</key><data>
	aGVs
	bG8=
	</data>
	<key>R</key><real>1.5</real><key>D</key><date>2026-01-02T03:04:05Z</date>
	<key>List</key><array><dict><key>a</key><string>b</string></dict><array/></array>
</dict>
</plist>
`

func TestEveryKindOfValueIsRead(t *testing.T) {
	got, err := Read([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Status": "Idle & 中 <b>", "Empty": "", "N": int64(-7), "Big": uint64(18446744073709551615), "Yes": true,
		"No": false, "Token": []byte("hello"), "R": 1.5, "D": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"List": []any{map[string]any{"a": "b"}, []any{}}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v\nwant %#v", got, want)
	}
	d, err := ReadDict([]byte(sample))
	if err != nil || d.Text("Status") != "Idle & 中 <b>" || string(d["Token"].Data()) != "hello" || d.Text("N") != "" {
		t.Fatalf("dict: %v, %v", d, err)
	}
	if v, ok := d["Yes"].Bool(); !v || !ok {
		t.Error("Yes is not true")
	}
}

func TestWhatIsNoPropertyListIsRefused(t *testing.T) {
	deep := "<plist><dict><key>a</key>" + strings.Repeat("<array>", 1_000_000)
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"binary":             {"bplist00\xd1\x00\x00", ErrBinary},
		"empty":              {"", ErrNotPlist},
		"json":               {"{}", ErrNotPlist},
		"openstep":           {"{ a = b; }", ErrNotPlist},
		"root is an array":   {"<plist><array/></plist>", ErrNotPlist},
		"cut off":            {sample[:len(sample)/2], ErrNotPlist},
		"junk after the end": {sample + "<dict/>", ErrNotPlist},
		"entity definitions": {`<!DOCTYPE plist [<!ENTITY a "b">]><plist><dict/></plist>`, ErrNotPlist},
		"unknown entity":     {"<plist><dict><key>a</key><string>&a;</string></dict></plist>", ErrNotPlist},
		"value without key":  {"<plist><dict><string>a</string></dict></plist>", ErrNotPlist},
		"key without value":  {"<plist><dict><key>a</key></dict></plist>", ErrNotPlist},
		"too deep":           {deep, ErrTooDeep},
		"too large":          {strings.Repeat(" ", MaxSize) + "<plist/>", ErrTooLarge},
	} {
		if _, err := ReadDict([]byte(test.in)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func FuzzReadAgreesWithTheLibrary(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("<plist><dict><key>a</key><integer>0x10</integer></dict></plist>"))
	f.Add([]byte("<plist><array><date>2026-01-02T03:04:05Z</date></array></plist>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Read(data)
		if err != nil {
			return
		}
		if bytes.Contains(data, []byte("<!")) || bytes.Contains(data, []byte("<?")) || bytes.ContainsAny(data, "\r&") {
			return // the library treats comments, carriage returns and odd references its own way
		}
		var want any
		if _, err := howett.Unmarshal(data, &want); err != nil {
			return // stricter about XML names and UTF-8 than we need to be
		}
		if a, b := normal(got), normal(want); !reflect.DeepEqual(a, b) {
			t.Fatalf("we read %#v, the library %#v", a, b)
		}
	})
}

// normal maps both decoders' integers to one type.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, normal(e))
		}
		return out
	case int64:
		return uint64(v)
	case []byte:
		if len(v) == 0 {
			return []byte{}
		}
	case time.Time:
		return v.UTC().Unix()
	case float64:
		if v != v {
			return "NaN"
		}
	}
	return v
}

var idle = []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Status</key><string>Idle</string><key>UDID</key><string>5FF9BAB0-7A52-4D3C-9B8E-000000000001</string></dict></plist>`)

func BenchmarkReadDictIdle(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d, err := ReadDict(idle)
		if err != nil || d.Text("Status") != "Idle" {
			b.Fatal(err)
		}
	}
}
