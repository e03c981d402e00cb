package gitops

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits of what is read.
const (
	maxYAML    = 4 << 20
	maxProfile = 1 << 20
	maxTotal   = 256 << 20
	maxMatches = 2000 // of one glob
)

// Files reads a repository. Names are relative to its root, with slashes, or
// absolute.
type Files interface {
	Read(name string, limit int64) ([]byte, error)
	Glob(pattern string) ([]string, error)
}

// errLeaves is what paths out of the repository get.
var errLeaves = errors.New("the path leaves the repository: move the file into it, or give its absolute path")

// disk reads below a root, which neither a path nor a symbolic link leaves.
type disk struct {
	root *os.Root
}

// Open finds the repository that the files are in: the nearest directory
// above with .git or default.yml, or the files' own. It returns their names in
// it. Close closes it.
func Open(given []string) (files Files, names []string, closeFiles func() error, err error) {
	paths := make([]string, 0, len(given))
	top := ""
	for _, g := range given {
		at, err := filepath.Abs(g)
		if err != nil {
			return nil, nil, nil, err
		}
		// Links among the directories above are the user's own.
		if dir, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
			at = filepath.Join(dir, filepath.Base(at))
		}
		if _, err := os.Lstat(at); err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", g, bare(err))
		}
		paths = append(paths, at)
		if root := rootOf(at); top == "" || within(top, root) {
			top = root // the outermost
		}
	}
	for i, p := range paths {
		name, err := filepath.Rel(top, p)
		if err != nil || !filepath.IsLocal(name) {
			return nil, nil, nil, fmt.Errorf("%s is not in the repository of the other files, %s: name files of one repository", given[i], top)
		}
		names = append(names, filepath.ToSlash(name))
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, nil, nil, err
	}
	return &disk{root}, names, root.Close, nil
}

// within tells whether the directory is the other or below it.
func within(dir, other string) bool {
	rel, err := filepath.Rel(other, dir)
	return err == nil && filepath.IsLocal(rel)
}

// rootOf is the repository of a file.
func rootOf(file string) string {
	dir := filepath.Dir(file)
	for at := dir; ; at = filepath.Dir(at) {
		for _, mark := range []string{".git", "default.yml", "default.yaml"} {
			if _, err := os.Lstat(filepath.Join(at, mark)); err == nil {
				return at
			}
		}
		if filepath.Dir(at) == at {
			break
		}
	}
	if base := filepath.Base(dir); base == "teams" || base == "fleets" {
		return filepath.Dir(dir)
	}
	return dir
}

// Read implements Files.
func (d *disk) Read(name string, limit int64) ([]byte, error) {
	var f fs.File
	var err error
	if path.IsAbs(name) || filepath.IsAbs(name) {
		f, err = os.Open(name)
	} else {
		if !filepath.IsLocal(name) {
			return nil, errLeaves
		}
		f, err = d.root.Open(name)
	}
	if err != nil {
		return nil, d.explain(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, bare(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("not a file")
	case info.Size() > limit:
		return nil, fmt.Errorf("the file has %d bytes, at most %d are read", info.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("the file has more than %d bytes", limit)
	}
	return data, bare(err)
}

// explain tells a link that leaves from a file that is not there.
func (d *disk) explain(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no such file")
	}
	if info, linkErr := d.root.Lstat(name); linkErr == nil && info.Mode()&fs.ModeSymlink != 0 || strings.Contains(err.Error(), "escapes") {
		return fmt.Errorf("a symbolic link leaves the repository: %w", bare(err))
	}
	return bare(err)
}

// Glob implements Files.
func (d *disk) Glob(pattern string) ([]string, error) {
	if !filepath.IsLocal(pattern) {
		return nil, errLeaves
	}
	return fs.Glob(d.root.FS(), pattern)
}

// bare drops the path that errors of the file system repeat.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
