package app_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/ade"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// boughtDevices is the size of the benchmark of a first sync.
const boughtDevices = 100_000

// warehouse is Apple's service with very many devices, which it makes up as
// they are asked for: what memory is used is the syncer's.
type warehouse struct{ most uint64 }

func (w *warehouse) FetchDevices(_ context.Context, _ fleet.ServerTokenID, cursor string, limit int) (fleet.DEPPage, error) {
	from, _ := strconv.Atoi(cursor) // "" is 0
	to := min(from+limit, boughtDevices)
	page := fleet.DEPPage{Cursor: strconv.Itoa(to), More: to < boughtDevices, Devices: make([]fleet.DEPDevice, 0, to-from)}
	for i := from; i < to; i++ {
		page.Devices = append(page.Devices, fleet.DEPDevice{Serial: fmt.Sprintf("DMP%09d", i), Model: "iPad Air 11-inch (M2)", Description: "IPAD AIR 11 WI-FI 128GB-USA",
			Color: "SPACE GRAY", Family: "iPad", OS: "iPadOS", ProfileStatus: "empty", AssignedBy: "it@example.com", WiFiMAC: "f0:18:98:00:00:00"})
	}
	w.measure()
	return page, nil
}

func (w *warehouse) SyncDevices(_ context.Context, _ fleet.ServerTokenID, cursor string, _ int) (fleet.DEPPage, error) {
	return fleet.DEPPage{Cursor: cursor}, nil
}

func (w *warehouse) AssignProfile(_ context.Context, _ fleet.ServerTokenID, profile string, serials []string) (fleet.DEPResults, error) {
	out := fleet.DEPResults{ProfileUUID: profile, Devices: make(map[string]fleet.DEPResult, len(serials))}
	for _, s := range serials {
		out.Devices[s] = fleet.DEPSuccess
	}
	w.measure()
	return out, nil
}

func (w *warehouse) measure() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.most = max(w.most, m.HeapAlloc)
}

// Define: the profile has been defined.
func (*warehouse) Define(context.Context, fleet.ServerTokenID) error { return nil }

// The first sync of a company with very many devices: every one of them becomes
// a host and gets its profile. Then a round in which nothing is new.
func BenchmarkFirstSync(b *testing.B) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		b.Run(string(d), func(b *testing.B) {
			ctx := context.Background()
			var first, idle time.Duration
			var most uint64
			n := 0
			for b.Loop() {
				db := storetest.OpenAt(b, d, time.Now)
				devices := store.NewADE(db)
				token := fleet.ServerToken{Account: fleet.DEPAccount{ServerUUID: "S"}, Sync: ade.Restarted(fleet.DEPSync{Expiry: time.Now().AddDate(1, 0, 0)})}
				seal := func(ref fleet.SecretRef) (fleet.SecretWrite, error) {
					return fleet.SecretWrite{Ref: ref, Value: fleet.Sealed{KeyID: "k", Data: []byte("x")}}, nil
				}
				if err := store.NewLabels(db).EnsureBuiltin(ctx, []fleet.BuiltinLabel{fleet.LabelAllHosts, fleet.LabelMacOS, fleet.LabelIOS, fleet.LabelIPadOS}); err != nil {
					b.Fatal(err)
				}
				if err := store.NewServerTokens(db).Create(ctx, &token, &fleet.EnrollmentProfile{Name: "A", Kind: fleet.EnrollmentADE, Token: "t"}, seal); err != nil {
					b.Fatal(err)
				}
				if err := devices.PutProfile(ctx, token.Sync.TokenID, fleet.NoTeam, [32]byte{1}, "PROFILE"); err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				apple := &warehouse{}
				syncer := ade.NewSyncer(apple, devices, apple, time.Now)
				round := func() time.Duration {
					begun := cpu()
					if err := syncer.Round(ctx, token.Sync.TokenID); err != nil {
						b.Fatal(err)
					}
					return cpu() - begun
				}
				first += round()
				idle += round()
				most = max(most, apple.most)
				due, err := devices.Due(ctx, token.Sync.TokenID, time.Now(), 1)
				if err != nil || len(due) > 0 {
					b.Fatalf("%d devices have no profile, %v", len(due), err)
				}
				n++
			}
			b.ReportMetric(float64(n*boughtDevices)/first.Seconds(), "devices/cpu-s")
			b.ReportMetric(float64(idle.Milliseconds())/float64(n), "idle-round-cpu-ms")
			b.ReportMetric(float64(most)/(1<<20), "heap-MiB")
		})
	}
}
