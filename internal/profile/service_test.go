package profile

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/mdmcmd"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/kit/wake"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

var ctx = context.Background()

// backwards is a sealer that anybody can open.
type backwards struct{}

func (backwards) Seal(_ fleet.SecretRef, secret []byte) (fleet.Sealed, error) {
	out := slices.Clone(secret)
	slices.Reverse(out)
	return fleet.Sealed{KeyID: "k", Data: out}, nil
}

func (b backwards) Open(ref fleet.SecretRef, sealed fleet.Sealed) ([]byte, error) {
	opened, err := b.Seal(ref, sealed.Data)
	return opened.Data, err
}

// world is a service over a real database.
type world struct {
	*testing.T
	db *store.DB
	*Service
	delivery *Delivery
}

func each(t *testing.T, test func(*world)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		type secrets struct {
			*store.Plans
			*store.Secrets
		}
		w := &world{T: t, db: db}
		w.Service = New(store.NewItems(db), store.NewItemStatuses(db), store.NewLabels(db), secrets{store.NewPlans(db), store.NewSecrets(db)}, backwards{}, time.Now, wake.NewBell())
		w.delivery = NewDelivery(store.NewItems(db), store.NewHosts(db), store.NewSecrets(db), backwards{})
		test(w)
	})
}

// live lists what the scope without a team has, with the revision.
func (w *world) live() ([]string, int64) {
	w.Helper()
	c, err := store.NewPlans(w.db).Catalog(ctx)
	if err != nil {
		w.Fatal(err)
	}
	var names []string
	for _, i := range c.ByTeam[fleet.NoTeam] {
		names = append(names, fmt.Sprint(i.Name, " ", i.Version))
	}
	slices.Sort(names)
	return names, c.Revisions[fleet.NoTeam]
}

func (w *world) has(want ...string) {
	w.Helper()
	if got, _ := w.live(); !slices.Equal(got, want) {
		w.Errorf("there is %q, want %q", got, want)
	}
}

func (w *world) create(u Upload) *fleet.Item {
	w.Helper()
	i, err := w.Create(ctx, fleet.Actor{}, fleet.NoTeam, u)
	if err != nil {
		w.Fatal(reason(err))
	}
	return i
}

func (w *world) refused(err error, kind fleet.Kind, about string) {
	w.Helper()
	if fleet.KindOf(err) != kind || !strings.Contains(reason(err), about) {
		w.Errorf("got %q, want something about %q", reason(err), about)
	}
}

func wifi(identifier, name string) Upload {
	return Upload{FileName: name + ".mobileconfig", Content: profileXML(identifier, name, "", payload("com.apple.wifi.managed", "1", ""))}
}

func declaration(kind, identifier, payload string) Upload {
	return Upload{FileName: identifier + ".json", Content: fmt.Appendf(nil, `{"Type":%q,"Identifier":%q,"Payload":%s}`, kind, identifier, payload)}
}

// A set lands as a whole or not at all.
func TestASetWithAFaultChangesNothing(t *testing.T) {
	each(t, func(w *world) {
		w.create(wifi("com.example.old", "Old"))
		_, before := w.live()
		for about, set := range map[string][]Upload{
			"have the same identifier": {wifi("com.example.a", "A"), wifi("com.example.a", "B")},
			"have the same name":       {wifi("com.example.a", "A"), wifi("com.example.b", "A")},
			"B.mobileconfig":           {wifi("com.example.a", "A"), {FileName: "B.mobileconfig", Content: []byte("no profile")}},
			"names com.example.gone":   {wifi("com.example.a", "A"), declaration("com.apple.activation.simple", "act", `{"StandardConfigurations":["com.example.gone"]}`)},
			`no label named "Nobody"`:  {wifi("com.example.a", "A"), {FileName: "B.mobileconfig", Content: wifi("com.example.b", "B").Content, Labels: []fleet.ItemLabel{{Name: "Nobody", Mode: fleet.IncludeAny}}}},
			"FLEET_SECRET_UNSET":       {wifi("com.example.a", "A"), {FileName: "B.mobileconfig", Content: profileXML("b", "B", "", payload("x", "1", "<key>a</key><string>$FLEET_SECRET_UNSET</string>"))}},
		} {
			if _, err := w.Set(ctx, fleet.Actor{}, fleet.NoTeam, set, fleet.ItemSetOptions{}); err == nil || !strings.Contains(reason(err), about) {
				w.Errorf("got %q, want something about %q", reason(err), about)
			}
		}
		w.has("Old 1")
		if _, after := w.live(); after != before {
			w.Error("hosts are planned again though nothing changed")
		}
	})
}

func TestASetKeepsWhatIsTheSame(t *testing.T) {
	each(t, func(w *world) {
		kept := w.create(wifi("com.example.a", "A"))
		w.create(wifi("com.example.b", "B"))
		set := []Upload{wifi("com.example.a", "A"), {FileName: "C.mobileconfig", Content: profileXML("com.example.c", "C", "", payload("com.apple.dock", "1", ""))}}
		for _, dry := range []bool{true, false} {
			changes, err := w.Set(ctx, fleet.Actor{}, fleet.NoTeam, set, fleet.ItemSetOptions{Dry: dry})
			if err != nil {
				w.Fatal(reason(err))
			}
			what := map[string]fleet.ItemChangeKind{}
			for _, c := range changes {
				what[c.Item.Name] = c.What
			}
			if len(what) != 3 || what["A"] != fleet.ItemUnchanged || what["B"] != fleet.ItemRemoved || what["C"] != fleet.ItemAdded {
				w.Errorf("dry %v: %v", dry, what)
			}
			if dry {
				w.has("A 1", "B 1")
			}
		}
		w.has("A 1", "C 1")
		if again, err := w.Item(ctx, kept.UUID); err != nil || again.Version != 1 {
			w.Errorf("the unchanged item is another one: %v", err)
		}
		_, before := w.live()
		if _, err := w.Set(ctx, fleet.Actor{}, fleet.NoTeam, set, fleet.ItemSetOptions{}); err != nil {
			w.Fatal(err)
		}
		if _, after := w.live(); after != before {
			w.Error("the same set a second time has hosts planned again")
		}
		_, err := w.Set(ctx, fleet.Actor{}, fleet.NoTeam, nil, fleet.ItemSetOptions{Revision: before - 1})
		w.refused(err, fleet.KindConflict, "")
		w.has("A 1", "C 1")
	})
}

func TestWhatAnotherDeclarationNamesStays(t *testing.T) {
	each(t, func(w *world) {
		configuration := w.create(declaration("com.apple.configuration.passcode.settings", "conf", `{"RequirePasscode":true}`))
		activation := w.create(declaration("com.apple.activation.simple", "act", `{"StandardConfigurations":["conf"]}`))
		w.refused(w.Delete(ctx, fleet.Actor{}, configuration.UUID), fleet.KindBadRequest, "names conf")
		w.has("act 1", "conf 1")
		for _, i := range []*fleet.Item{activation, configuration} {
			if err := w.Delete(ctx, fleet.Actor{}, i.UUID); err != nil {
				w.Error(reason(err))
			}
		}
		w.has()
	})
}

func TestAnItemKeepsItsIdentifier(t *testing.T) {
	each(t, func(w *world) {
		i := w.create(wifi("com.example.a", "A"))
		_, err := w.Replace(ctx, fleet.Actor{}, i.UUID, wifi("com.example.other", "A"))
		w.refused(err, fleet.KindBadRequest, "keeps its kind and identifier")
		_, err = w.Create(ctx, fleet.Actor{}, fleet.NoTeam, wifi("com.example.a", "Another"))
		w.refused(err, fleet.KindConflict, "same identifier")
		next := wifi("com.example.a", "A")
		next.Content = bytes.ReplaceAll(next.Content, []byte("com.apple.wifi.managed"), []byte("com.apple.vpn.managed"))
		if changed, err := w.Replace(ctx, fleet.Actor{}, i.UUID, next); err != nil || changed.UUID != i.UUID || changed.Version != 2 {
			w.Errorf("got %+v, %v", changed, err)
		}
		w.has("A 2")
	})
}

// A secret is read by a delivery and by nothing else.
func TestASecretIsFilledInOnTheWayOnly(t *testing.T) {
	const value = `p<a>ss&"word`
	each(t, func(w *world) {
		if changed, err := w.SetVariables(ctx, fleet.Actor{}, map[string]string{"FLEET_SECRET_WIFI": value}, false); err != nil || !slices.Equal(changed, []string{"WIFI"}) {
			w.Fatal(changed, err)
		}
		item := w.create(Upload{FileName: "a.mobileconfig", Content: profileXML("a", "A", "", payload("com.apple.wifi.managed", "1",
			"<key>Password</key><string>$FLEET_SECRET_WIFI</string><key>SSID</key><string>$FLEET_VAR_HOST_HARDWARE_SERIAL</string>"))})
		list, err := w.Variables(ctx)
		if err != nil || len(list) != 1 || strings.Contains(fmt.Sprintf("%+v", list), value) {
			w.Errorf("listed: %+v, %v", list, err)
		}
		if _, content, err := w.Content(ctx, item.UUID); err != nil || bytes.Contains(content, []byte("p&lt;a")) {
			w.Errorf("downloaded: %s, %v", content, err)
		}
		w.refused(w.DeleteVariable(ctx, fleet.Actor{}, "WIFI"), fleet.KindConflict, `used by "A"`)

		_, content, err := w.Content(ctx, item.UUID)
		if err != nil {
			w.Fatal(err)
		}
		cmd, err := mdmcmd.NewInstallProfile("C", content)
		if err != nil {
			w.Fatal(err)
		}
		deliver := func(host fleet.HostID) (string, error) {
			raw, err := w.delivery.Command(ctx, host, cmd.Raw)
			if err != nil {
				return "", err
			}
			filled, err := mdmcmd.InstallPayload(raw)
			return string(filled), err
		}
		mac := w.host("U-1", "SERIAL1")
		got, err := deliver(mac)
		if err != nil || !strings.Contains(got, "<string>SERIAL1</string>") || strings.Contains(got, "$FLEET") {
			w.Errorf("delivered %s, %v", got, err)
		}
		if filled, err := Read("a.mobileconfig", []byte(got)); err != nil || filled.Item.Identifier != "a" {
			w.Errorf("a device could not read it: %v", err)
		}
		_, err = deliver(w.host("U-2", ""))
		w.refused(err, fleet.KindPrecondition, "HOST_HARDWARE_SERIAL has no value")

		if err := w.Delete(ctx, fleet.Actor{}, item.UUID); err != nil {
			w.Fatal(err)
		}
		if err := w.DeleteVariable(ctx, fleet.Actor{}, "WIFI"); err != nil {
			w.Error(reason(err))
		}
		w.refused(w.DeleteVariable(ctx, fleet.Actor{}, "WIFI"), fleet.KindNotFound, "")
		_, err = deliver(mac)
		w.refused(err, fleet.KindPrecondition, "FLEET_SECRET_WIFI is not set")
	})
}

// host enrolls a Mac.
func (w *world) host(uuid, serial string) fleet.HostID {
	w.Helper()
	h := fleet.Host{UUID: uuid, HardwareSerial: serial, Platform: fleet.PlatformDarwin}
	e, err := store.NewEnrollments(w.db).Apply(ctx, fleet.CheckinLookup{Key: fleet.EnrollmentKey{Channel: fleet.ChannelDevice, ID: uuid}},
		func(fleet.EnrollmentFacts) (fleet.EnrollmentChange, error) {
			return fleet.EnrollmentChange{Host: &h, Enrollment: &fleet.Enrollment{Key: uuid, Channel: fleet.ChannelDevice, State: fleet.EnrollmentOn, Generation: 1,
				Topic: "topic", PushMagic: "magic", PushToken: []byte("token"), Serial: serial}}, nil
		})
	if err != nil {
		w.Fatal(err)
	}
	return e.HostID
}

func TestVariablesAreChecked(t *testing.T) {
	each(t, func(w *world) {
		for _, values := range []map[string]string{{"lower": "x"}, {"": "x"}, {"A-B": "x"}, {"EMPTY": ""}, {"BIG": strings.Repeat("x", maxSecret+1)}} {
			_, err := w.SetVariables(ctx, fleet.Actor{}, values, false)
			w.refused(err, fleet.KindInvalid, "")
		}
		if list, err := w.Variables(ctx); err != nil || len(list) != 0 {
			w.Errorf("there is %v, %v", list, err)
		}
		for n, want := range []int{1, 0} { // the same value again changes nothing
			if changed, err := w.SetVariables(ctx, fleet.Actor{}, map[string]string{"A": "x"}, false); err != nil || len(changed) != want {
				w.Errorf("time %d: %v, %v", n+1, changed, err)
			}
		}
	})
}

// meddledItems runs something after an item was read.
type meddledItems struct {
	Items
	after func()
}

func (m *meddledItems) Item(ctx context.Context, uuid string) (*fleet.Item, error) {
	i, err := m.Items.Item(ctx, uuid)
	if f := m.after; f != nil {
		m.after = nil
		f()
	}
	return i, err
}

// Who changes one part of a profile does not bring back another one's past.
func TestOfTwoChangesAtOnceNoneIsUndone(t *testing.T) {
	each(t, func(w *world) {
		ctx := w.Context()
		must := func(err error) {
			if err != nil {
				w.Fatal(err)
			}
		}
		must(store.NewLabels(w.db).Create(ctx, &fleet.Label{Name: "Lab", Kind: fleet.LabelManual}, nil))
		file := func(value string) []byte {
			return profileXML("a", "A", "", payload("com.apple.wifi.managed", value, ""))
		}
		meddled := &meddledItems{Items: w.items}
		w.items = meddled
		i, err := w.Create(ctx, fleet.Actor{}, fleet.NoTeam, Upload{FileName: "a.mobileconfig", Content: file("1")})
		must(err)
		replace := func(u Upload) error {
			u.FileName = "a.mobileconfig"
			_, err := w.Replace(ctx, fleet.Actor{}, i.UUID, u)
			return err
		}
		lab := []fleet.ItemLabel{{Name: "Lab", Mode: fleet.IncludeAll}}
		meddled.after = func() { must(replace(Upload{Content: file("2")})) }
		if err := replace(Upload{Labels: lab}); fleet.KindOf(err) != fleet.KindConflict {
			w.Error("labels, while a new file came:", err)
		}
		meddled.after = func() { must(replace(Upload{Labels: lab})) }
		if err := replace(Upload{Content: file("3")}); fleet.KindOf(err) != fleet.KindConflict {
			w.Error("a file, while it was confined:", err)
		}
		got, content, err := w.Content(ctx, i.UUID)
		must(err)
		if string(content) != string(file("2")) || len(got.Labels) != 1 {
			w.Errorf("version %d with labels %v", got.Version, got.Labels)
		}
	})
}
