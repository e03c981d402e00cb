package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/muster-mdm/muster"
	root   = "../.."
)

// imported is one import of one file.
type imported struct {
	pkg   string // directory of the importing package
	file  string
	path  string
	test  bool
	blank bool
}

func TestPackagesImportOnlyWhatTheirRoomAllows(t *testing.T) {
	for _, i := range imports(t) {
		r, ok := roomOf(i.pkg)
		if !ok {
			continue // told once, by the test below
		}
		if own, isOurs := strings.CutPrefix(i.path, module+"/"); isOurs {
			if own != i.pkg && !r.mayVisit(own, i.test) {
				t.Errorf("%s: %s may not import %s.\n\tDeclare an interface for the need and let internal/app plug it in;"+
					" if the plan itself is to change, write an ADR and change internal/arch/rooms_test.go.", i.file, i.pkg, own)
			}
			continue
		}
		if wantsDoor(i.path) && !r.mayUse(i.path, i.test) {
			t.Errorf("%s: %s has no door to %s.\n\tUse the package that has one; if this one is to have it,"+
				" say why in an ADR (docs/adr) and add it to internal/arch/rooms_test.go.", i.file, i.pkg, i.path)
		}
	}
}

func TestEveryPackageHasARoomAndEveryRoomAPackage(t *testing.T) {
	used := map[string]bool{}
	seen := map[string]bool{}
	for _, pkg := range packages(t) {
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		r, ok := roomOf(pkg)
		if !ok {
			t.Errorf("package %s has no room.\n\tAdd it to the table in internal/arch/rooms_test.go and in docs/ARCHITECTURE.md,"+
				" with the imports of the layer it belongs to.", pkg)
		}
		used[r.path] = true
	}
	for _, r := range rooms {
		if !used[r.path] && !r.planned {
			t.Errorf("room %s has no package: take it out of internal/arch/rooms_test.go", r.path)
		}
	}
}

func TestADoorThatNobodyUsesIsClosed(t *testing.T) {
	all := imports(t)
	for _, r := range rooms {
		if r.planned {
			continue
		}
		for _, door := range r.doors {
			if !slices.ContainsFunc(all, func(i imported) bool { return !i.test && inRoom(i.pkg, r) && within(i.path, door) }) {
				t.Errorf("%s does not import %s any more: take the door out of internal/arch/rooms_test.go", r.path, door)
			}
		}
	}
}

// Registration by import hides what a program does. Database drivers have no
// other way.
func TestOnlyTheStoreImportsForSideEffects(t *testing.T) {
	for _, i := range imports(t) {
		if i.blank && i.path != "embed" && i.pkg != "internal/store" {
			t.Errorf("%s: import of %s only for its side effects", i.file, i.path)
		}
	}
}

func TestPathsAreMatchedByWholeElements(t *testing.T) {
	for _, c := range []struct {
		path, pattern string
		want          bool
	}{
		{"internal/kit/ids", "internal/kit/*", true},
		{"internal/kit", "internal/kit/*", false},
		{"internal/kitten/ids", "internal/kit/*", false},
		{"internal/store/storetest", "internal/store", false},
		{"internal/store", "internal/store", true},
	} {
		if got := fits(c.path, c.pattern); got != c.want {
			t.Errorf("%s in %s: %v", c.path, c.pattern, got)
		}
	}
	if !within("crypto/x509/pkix", "crypto/x509") || within("crypto/x509x", "crypto/x509") {
		t.Error("a door leads to the packages below it and to no other")
	}
}

func (r room) mayVisit(pkg string, test bool) bool {
	allowed := r.ours
	if test {
		allowed = slices.Concat(r.ours, r.testOurs)
	}
	return slices.ContainsFunc(allowed, func(pattern string) bool { return fits(pkg, pattern) })
}

func (r room) mayUse(lib string, test bool) bool {
	allowed := r.doors
	if test {
		allowed = slices.Concat(r.doors, r.testDoors, testDoors)
	}
	return slices.ContainsFunc(allowed, func(door string) bool { return within(lib, door) })
}

func roomOf(pkg string) (room, bool) {
	for _, r := range rooms {
		if fits(pkg, r.path) {
			return r, true
		}
	}
	return room{}, false
}

func inRoom(pkg string, r room) bool {
	found, ok := roomOf(pkg)
	return ok && found.path == r.path
}

// fits reports whether a directory of ours is meant by a pattern.
func fits(pkg, pattern string) bool {
	if parent, below := strings.CutSuffix(pattern, "/*"); below {
		return strings.HasPrefix(pkg, parent+"/")
	}
	return pkg == pattern
}

// within reports whether a library's package is behind a door.
func within(lib, door string) bool {
	return lib == door || strings.HasPrefix(lib, door+"/")
}

func wantsDoor(lib string) bool {
	first, _, _ := strings.Cut(lib, "/")
	if strings.Contains(first, ".") {
		return true
	}
	for _, g := range guarded {
		if within(lib, g) && lib != "log/slog" {
			return true
		}
	}
	return false
}

func packages(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, file := range files(t) {
		dirs = append(dirs, path.Dir(file))
	}
	return dirs
}

// imports reads the imports of every Go file of the module, whatever its
// build constraints.
func imports(t *testing.T) []imported {
	t.Helper()
	var all []imported
	for _, file := range files(t) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, imported{
				pkg: path.Dir(file), file: file, path: name,
				test:  strings.HasSuffix(file, "_test.go"),
				blank: spec.Name != nil && spec.Name.Name == "_",
			})
		}
	}
	return all
}

// files lists the Go files of the module with slashes, from its root.
func files(t *testing.T) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && ignored(name) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 100 {
		t.Fatalf("only %d Go files found below %s", len(found), root)
	}
	return found
}

// ignored reports directories that the go command does not look into either,
// and modules of their own.
func ignored(dir string) bool {
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir), "go.mod"))
	return err == nil
}
