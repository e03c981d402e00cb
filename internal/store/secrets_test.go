package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

func secretRef(n int) fleet.SecretRef {
	return fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: fmt.Sprintf("name-%03d", n)}
}

func sealed(key string, n int) fleet.SecretWrite {
	return fleet.SecretWrite{Ref: secretRef(n), Value: fleet.Sealed{KeyID: key, Data: []byte{0, byte(n), 255}}}
}

func TestSecretsAreWrittenAndDeletedTogether(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		secrets := store.NewSecrets(db)
		if err := secrets.Write(ctx, []fleet.SecretWrite{sealed("k1", 1), sealed("k1", 2)}, fleet.Event{Kind: fleet.EventBootstrapTokenSet}); err != nil {
			t.Fatal(err)
		}
		got, err := secrets.Secret(ctx, secretRef(1))
		if err != nil || got == nil || got.Version != 1 || got.UpdatedAt.IsZero() {
			t.Fatalf("%+v, %v", got, err)
		}
		if diff := cmp.Diff(sealed("k1", 1).Value, got.Value); diff != "" {
			t.Error(diff)
		}
		if err := secrets.Write(ctx, []fleet.SecretWrite{{Ref: secretRef(1), Delete: true}, {Ref: secretRef(9), Delete: true}, sealed("k2", 2)}); err != nil {
			t.Fatal(err)
		}
		if got, err := secrets.Secret(ctx, secretRef(1)); err != nil || got != nil {
			t.Errorf("after it was deleted: %+v, %v", got, err)
		}
		if got, err := secrets.Secret(ctx, secretRef(2)); err != nil || got.Version != 2 || got.Value.KeyID != "k2" {
			t.Errorf("after it was written again: %+v, %v", got, err)
		}
		if got, err := secrets.Secret(ctx, fleet.SecretRef{Scope: fleet.ScopeBootstrapToken, Name: secretRef(2).Name}); err != nil || got != nil {
			t.Errorf("the same name elsewhere: %+v, %v", got, err)
		}
		equal(t, "the event log", eventKinds(t, db), fleet.EventBootstrapTokenSet)
	})
}

func TestOfManyWhoCreateASecretOneDoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		secrets := store.NewSecrets(db)
		var made atomic.Int64
		storetest.Parallel(8, func(i int) {
			key := fmt.Sprint("k", i)
			created, err := secrets.Create(ctx, []fleet.SecretWrite{sealed(key, 1), sealed(key, 2)})
			if err != nil {
				t.Error(err)
			}
			if created {
				made.Add(1)
			}
		})
		if made.Load() != 1 {
			t.Errorf("%d made it", made.Load())
		}
		ids, err := secrets.KeyIDs(ctx)
		if err != nil || len(ids) != 1 {
			t.Errorf("the two belong to different makers: %v, %v", ids, err)
		}
		// All or none.
		if created, err := secrets.Create(ctx, []fleet.SecretWrite{sealed("k", 3), sealed("k", 1)}); err != nil || created {
			t.Errorf("created: %v, %v", created, err)
		}
		if got, err := secrets.Secret(ctx, secretRef(3)); err != nil || got != nil {
			t.Errorf("half of it stayed: %+v, %v", got, err)
		}
	})
}

func TestARotationGoesOnWhereItStopped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		secrets := store.NewSecrets(db)
		const count, batch = 25, 10
		for n := range count {
			if err := secrets.Write(ctx, []fleet.SecretWrite{sealed("old", n)}); err != nil {
				t.Fatal(err)
			}
		}
		rewrap := func(list []fleet.StoredSecret) []fleet.StoredSecret {
			for i := range list {
				list[i].Value.KeyID = "new"
			}
			return list
		}
		first, err := secrets.NotSealedWith(ctx, "new", batch)
		if err != nil || len(first) != batch {
			t.Fatalf("%d values, %v", len(first), err)
		}
		// One of them changes before the rotation comes to it.
		changed := sealed("old", 3)
		changed.Value.Data = []byte("changed meanwhile")
		if err := secrets.Write(ctx, []fleet.SecretWrite{changed}); err != nil {
			t.Fatal(err)
		}
		if n, err := secrets.Rewrap(ctx, rewrap(first)); err != nil || n != batch-1 {
			t.Errorf("%d re-wrapped, want all but the changed one (%v)", n, err)
		}
		if ids, err := secrets.KeyIDs(ctx); err != nil || ids["new"] != batch-1 || ids["old"] != count-batch+1 {
			t.Errorf("%v, %v", ids, err)
		}
		for rounds := 0; ; rounds++ { // somebody begins again
			list, err := secrets.NotSealedWith(ctx, "new", batch)
			if err != nil || rounds > count {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			if _, err := secrets.Rewrap(ctx, rewrap(list)); err != nil {
				t.Fatal(err)
			}
		}
		if ids, err := secrets.KeyIDs(ctx); err != nil || ids["new"] != count || len(ids) != 1 {
			t.Errorf("in the end: %v, %v", ids, err)
		}
		got, err := secrets.Secret(ctx, secretRef(3))
		if err != nil || string(got.Value.Data) != "changed meanwhile" {
			t.Errorf("what changed meanwhile is %q, %v", got.Value.Data, err)
		}
	})
}
