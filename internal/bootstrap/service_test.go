package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store"
	"github.com/muster-mdm/muster/internal/store/storetest"
	"github.com/muster-mdm/muster/sim/installer"
)

type org struct{}

func (org) Settings(context.Context) (fleet.Settings, error) {
	return fleet.Settings{ServerURL: "https://mdm.example.com"}, nil
}

type shelf struct {
	*Service
	store *store.Packages
	now   time.Time
	t     *testing.T
}

func eachShelf(t *testing.T, test func(t *testing.T, s *shelf)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres, store.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			s := &shelf{now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC), t: t}
			db := storetest.OpenAt(t, d, func() time.Time { return s.now })
			s.store = store.NewPackages(db)
			s.Service = New(s.store, org{}, func() time.Time { return s.now }, 10<<20)
			test(t, s)
		})
	}
}

var pkg = sync.OnceValue(func() []byte {
	signer, err := installer.NewSigner("Acme")
	if err != nil {
		panic(err)
	}
	data, err := installer.Build(installer.Options{Identifier: "com.acme.tools", Version: "4.2", Title: "Tools", Payload: fleet.PackagePiece + 1000, Signer: signer})
	if err != nil {
		panic(err)
	}
	return data
})

// pieces counts what is left of a package in the store.
func (s *shelf) pieces(id int64) (n int) {
	for ; ; n++ {
		data, err := s.store.Piece(s.t.Context(), id, n)
		if err != nil {
			s.t.Fatal(err)
		}
		if data == nil {
			return n
		}
	}
}

func (s *shelf) receive() *fleet.BootstrapPackage {
	s.t.Helper()
	p, err := s.Receive(s.t.Context(), `C:\Users\ada\tools.pkg`, iotest.HalfReader(bytes.NewReader(pkg())))
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func TestAPackageIsKeptInPiecesAndReadBack(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		ctx := t.Context()
		p := s.receive()
		if p.Name != "tools.pkg" || p.Signer != "Acme" || p.Identifier != "com.acme.tools" || p.Size != int64(len(pkg())) || p.SHA256 != sha256.Sum256(pkg()) || len(p.Pieces) != 2 {
			t.Errorf("%+v", p)
		}
		for _, find := range []func() error{
			func() error { _, err := s.Package(ctx, fleet.NoTeam); return err },
			func() error { _, err := s.ByToken(ctx, p.Token); return err },
		} {
			if err := find(); fleet.KindOf(err) != fleet.KindNotFound {
				t.Errorf("it is there before it was accepted: %v", err)
			}
		}
		if err := s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, p, false); err != nil {
			t.Fatal(err)
		}
		got, err := s.ByToken(ctx, p.Token)
		if err != nil || got.Pieces[1] != p.Pieces[1] || got.Signer != "Acme" {
			t.Fatalf("%+v, %v", got, err)
		}
		if err := iotest.TestReader(s.Content(ctx, got), pkg()); err != nil {
			t.Error(err)
		}
		names, err := s.Names(ctx)
		if err != nil || names[fleet.NoTeam] != "tools.pkg" || len(names) != 1 {
			t.Errorf("%v, %v", names, err)
		}
	})
}

func TestTheManifestHasTheChecksumsOfThePieces(t *testing.T) {
	sums := [][32]byte{{1}, {2}}
	text, err := manifest(&fleet.BootstrapPackage{Name: "tools.pkg", Size: 5 << 20, Pieces: sums, Token: "a+b"}, "https://mdm.example.com")
	if err != nil {
		t.Fatal(err)
	}
	v, err := plist.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	item := v.(map[string]any)["items"].([]any)[0].(map[string]any)
	asset, meta := item["assets"].([]any)[0].(map[string]any), item["metadata"].(map[string]any)
	if asset["kind"] != "software-package" || asset["url"] != "https://mdm.example.com/api/v1/fleet/bootstrap?token=a%2Bb" || asset["sha256-size"] != int64(4<<20) {
		t.Errorf("%v", asset)
	}
	if list := asset["sha256s"].([]any); len(list) != 2 || list[1] != hex.EncodeToString(sums[1][:]) {
		t.Errorf("%v", list)
	}
	if meta["kind"] != "software" || meta["bundle-identifier"] == "" || meta["bundle-version"] == "" || meta["sizeInBytes"] != int64(5<<20) {
		t.Errorf("%v", meta)
	}
}

func TestATeamHasOnePackageHoweverManyAreUploadedAtOnce(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		ctx := t.Context()
		const many = 4
		var list [many]*fleet.BootstrapPackage
		var errs [many]error
		for i := range list {
			list[i] = s.receive()
		}
		storetest.Parallel(many, func(i int) { errs[i] = s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, list[i], false) })
		taken := 0
		for i, err := range errs {
			switch {
			case err == nil:
				taken++
			case fleet.KindOf(err) != fleet.KindConflict:
				t.Error(err)
			default:
				if err := s.Drop(ctx, list[i]); err != nil || s.pieces(list[i].ID) != 0 {
					t.Errorf("%v, %d pieces are left", err, s.pieces(list[i].ID))
				}
			}
		}
		if taken != 1 {
			t.Errorf("%d were taken", taken)
		}
		if err := s.Vacant(ctx, fleet.NoTeam); fleet.KindOf(err) != fleet.KindConflict {
			t.Error(err)
		}
		lost := s.receive()
		if err := s.Accept(ctx, fleet.Actor{}, 99, lost, false); fleet.KindOf(err) != fleet.KindNotFound {
			t.Errorf("a team that does not exist: %v", err)
		}
	})
}

func TestAPackageIsReplacedInOneStep(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		ctx := t.Context()
		first := s.receive()
		if err := s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, first, true); err != nil {
			t.Fatalf("nothing was there to replace: %v", err)
		}
		lost := s.receive()
		if err := s.Accept(ctx, fleet.Actor{}, 99, lost, true); fleet.KindOf(err) != fleet.KindNotFound {
			t.Errorf("a team that does not exist: %v", err)
		}
		if _, err := s.Receive(ctx, "tools.pkg", strings.NewReader("hello")); fleet.KindOf(err) != fleet.KindInvalid {
			t.Error(err)
		}
		if p, err := s.Package(ctx, fleet.NoTeam); err != nil || p.Token != first.Token {
			t.Fatalf("the first is gone before there is another: %+v, %v", p, err)
		}
		second := s.receive()
		if err := s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, second, true); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Package(ctx, fleet.NoTeam); err != nil || p.Token != second.Token {
			t.Errorf("%+v, %v", p, err)
		}
		if n := s.pieces(first.ID); n != 0 || s.pieces(second.ID) != 2 {
			t.Errorf("%d pieces of the first are left", n)
		}
	})
}

func TestWhatIsNotTakenLeavesNothing(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		broken := io.MultiReader(bytes.NewReader(pkg()[:fleet.PackagePiece+5]), iotest.ErrReader(io.ErrUnexpectedEOF))
		for name, c := range map[string]struct {
			file string
			from io.Reader
			kind fleet.Kind
		}{
			"another kind of file": {"tools.dmg", bytes.NewReader(pkg()), fleet.KindInvalid},
			"no name":              {"", bytes.NewReader(pkg()), fleet.KindInvalid},
			"a text":               {"tools.pkg", strings.NewReader("hello"), fleet.KindInvalid},
			"a part":               {"tools.pkg", bytes.NewReader(pkg()[:len(pkg())-1]), fleet.KindInvalid},
			"one that breaks off":  {"tools.pkg", broken, fleet.KindBadRequest},
			"one that is too big":  {"tools.pkg", io.MultiReader(bytes.NewReader(pkg()), bytes.NewReader(make([]byte, 10<<20))), fleet.KindTooLarge},
		} {
			p, err := s.Receive(t.Context(), c.file, c.from)
			var e *fleet.Error
			if !errors.As(err, &e) || e.Kind != c.kind || p != nil {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
		for id := range int64(10) {
			if n := s.pieces(id); n != 0 {
				t.Errorf("%d pieces of package %d are left", n, id)
			}
		}
	})
}

func TestAnEmptyPackageIsRefused(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		id, err := s.store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = s.store.Finish(t.Context(), &fleet.BootstrapPackage{ID: id, Name: "tools.pkg", Token: "t"}, nil)
		if fleet.KindOf(err) != fleet.KindInvalid {
			t.Error(err)
		}
	})
}

func TestUploadsThatNobodyEndedAreSwept(t *testing.T) {
	eachShelf(t, func(t *testing.T, s *shelf) {
		ctx := t.Context()
		p := s.receive() // and then the server stopped
		if err := s.Sweep(ctx); err != nil || s.pieces(p.ID) != 2 {
			t.Errorf("%v, %d pieces while it may still go on", err, s.pieces(p.ID))
		}
		s.now = s.now.Add(unfinishedLife + time.Second)
		if err := s.Sweep(ctx); err != nil || s.pieces(p.ID) != 0 {
			t.Errorf("%v, %d pieces", err, s.pieces(p.ID))
		}
		if err := s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, p, false); fleet.KindOf(err) != fleet.KindConflict {
			t.Errorf("it is accepted after all: %v", err)
		}
		p = s.receive()
		if err := s.Accept(ctx, fleet.Actor{}, fleet.NoTeam, p, false); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(48 * time.Hour)
		if err := s.Sweep(ctx); err != nil || s.pieces(p.ID) != 2 {
			t.Errorf("%v: a package was swept", err)
		}
		if err := s.Delete(ctx, fleet.Actor{}, fleet.NoTeam); err != nil || s.pieces(p.ID) != 0 {
			t.Errorf("%v, %d pieces of a deleted package", err, s.pieces(p.ID))
		}
		if err := s.Delete(ctx, fleet.Actor{}, fleet.NoTeam); fleet.KindOf(err) != fleet.KindNotFound {
			t.Error(err)
		}
	})
}
