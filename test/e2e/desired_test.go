package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/scenario"
)

// Of people who upload the same profile at once one wins, and those who upload
// different ones all do.
func TestUploadsAtOnceDoNotLoseOneAnother(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		const people = 8
		upload := func(identifier, name string) int {
			_, err := w.api.CreateProfile(ctx, client.ProfileUpload{FileName: name + ".mobileconfig",
				Content: scenario.Restrictions(identifier, name, "allowCamera", false)})
			if err == nil {
				return http.StatusOK
			}
			return client.StatusOf(err)
		}
		var wg sync.WaitGroup
		same, different := make([]int, people), make([]int, people)
		for i := range people {
			wg.Go(func() { same[i] = upload("com.example.same", "Same") })
			wg.Go(func() { different[i] = upload(fmt.Sprint("com.example.p", i), fmt.Sprint("P", i)) })
		}
		wg.Wait()
		won := 0
		for i := range people {
			switch same[i] {
			case http.StatusOK:
				won++
			case http.StatusConflict:
			default:
				t.Errorf("an upload of the same profile was answered %d", same[i])
			}
			if different[i] != http.StatusOK {
				t.Errorf("an upload of another profile was answered %d", different[i])
			}
		}
		list, err := w.api.Profiles(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if won != 1 || len(list) != people+1 {
			t.Errorf("%d of the same were taken, and %d profiles are there", won, len(list))
		}
	})
}
