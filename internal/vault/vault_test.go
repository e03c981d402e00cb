package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/muster-mdm/muster/internal/fleet"
)

func mustKey(t *testing.T) Key {
	t.Helper()
	k, err := ParseKey(NewKeyText())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestASecretOpensOnlyUnderItsNameAndKey(t *testing.T) {
	a, b := mustKey(t), mustKey(t)
	v, err := New([]Key{a}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := fleet.SecretRef{Scope: fleet.ScopeUnlockToken, Name: "UDID-1"}
	sealed, err := v.Seal(ref, []byte("hush"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.Data, []byte("hush")) {
		t.Fatal("the secret is readable")
	}
	if got, err := v.Open(ref, sealed); err != nil || string(got) != "hush" {
		t.Fatalf("open: %q, %v", got, err)
	}
	if _, err := v.Open(fleet.SecretRef{Scope: ref.Scope, Name: "UDID-2"}, sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("under another name: %v", err)
	}
	for i := range sealed.Data {
		bad := fleet.Sealed{KeyID: sealed.KeyID, Data: bytes.Clone(sealed.Data)}
		bad.Data[i] ^= 1
		if _, err := v.Open(ref, bad); err == nil {
			t.Fatalf("byte %d changed and it opens", i)
		}
		if _, err := v.Open(ref, fleet.Sealed{KeyID: sealed.KeyID, Data: sealed.Data[:i]}); err == nil {
			t.Fatalf("cut to %d bytes and it opens", i)
		}
	}
	other, _ := New([]Key{b}, nil)
	if _, err := other.Open(ref, sealed); !errors.Is(err, ErrKeyUnknown) {
		t.Errorf("with another key: %v", err)
	}
}

func TestRewrappedSecretsNeedOnlyTheNewKey(t *testing.T) {
	old, now := mustKey(t), mustKey(t)
	ref := fleet.SecretRef{Scope: fleet.ScopeAsset, Name: "ca_key"}
	before, _ := New([]Key{old}, nil)
	sealed, _ := before.Seal(ref, []byte("key"))
	both, _ := New([]Key{now, old}, nil)
	moved, err := both.Rewrap(sealed)
	if err != nil || moved.KeyID != now.ID() {
		t.Fatalf("rewrap: %v", err)
	}
	after, _ := New([]Key{now}, nil)
	if got, err := after.Open(ref, moved); err != nil || string(got) != "key" {
		t.Fatalf("open: %q, %v", got, err)
	}
}

func TestAVaultAsksForKeysThatAnotherProcessAdded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.key")
	keys, err := EnsureKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	server, _ := New(keys, func() ([]Key, error) { return LoadKeyFile(path) })
	if err := AddKey(path); err != nil {
		t.Fatal(err)
	}
	rotated, err := LoadKeyFile(path)
	if err != nil || len(rotated) != 2 || rotated[1].ID() != keys[0].ID() {
		t.Fatalf("after AddKey: %d keys, %v", len(rotated), err)
	}
	cli, _ := New(rotated, nil)
	ref := fleet.SecretRef{Scope: fleet.ScopeAsset, Name: "x"}
	sealed, _ := cli.Seal(ref, []byte("new"))
	if got, err := server.Open(ref, sealed); err != nil || string(got) != "new" {
		t.Fatalf("the running server cannot open it: %v", err)
	}
	if server.CurrentKeyID() != rotated[0].ID() {
		t.Error("the running server still seals with the old key")
	}
	if err := DropOldKeys(path); err != nil {
		t.Fatal(err)
	}
	if left, err := LoadKeyFile(path); err != nil || len(left) != 1 || left[0].ID() != rotated[0].ID() {
		t.Fatalf("after DropOldKeys: %v", err)
	}
}

func TestWeakOrReadableKeysAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "short": "c2hvcnQ=", "not base64": "!!!!", "all zero": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, []byte(NewKeyText()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(path); err == nil {
		t.Error("a key file that others may read was accepted")
	}
}

func FuzzOpen(f *testing.F) {
	k, _ := ParseKey(NewKeyText())
	v, _ := New([]Key{k}, nil)
	ref := fleet.SecretRef{Scope: fleet.ScopeAsset, Name: "x"}
	sealed, _ := v.Seal(ref, []byte("secret"))
	f.Add(sealed.Data)
	f.Add([]byte{1, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := v.Open(ref, fleet.Sealed{KeyID: k.ID(), Data: data})
		if err == nil && !bytes.Equal(data, sealed.Data) {
			t.Fatalf("forged value opens as %q", got)
		}
	})
}
