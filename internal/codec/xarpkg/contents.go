package xarpkg

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// stored is a part of the heap, with the name of the file that it belongs to.
type stored struct {
	content
	name string
}

// contents adds to list what files, and those in them, have in the heap.
func contents(files []file, list []stored) []stored {
	for i := range files {
		f := &files[i]
		for _, c := range append([]content{f.Data}, f.Attributes...) {
			if c.Length() != 0 {
				list = append(list, stored{c, f.Name})
			}
		}
		list = contents(f.Files, list)
	}
	return list
}

// checkContents verifies the checksum of everything in the heap, which the
// table of contents has and so the signature covers. Each byte is read once, in
// order.
func (a *archive) checkContents(list []stored) error {
	slices.SortStableFunc(list, func(x, y stored) int { return cmp.Compare(x.Offset, y.Offset) })
	var before *stored
	for i := range list {
		v := &list[i]
		if before != nil && v.extent == before.extent && v.Checksum == before.Checksum {
			continue // xar keeps equal files once, if it is told to
		}
		if before != nil && v.Offset < before.Offset+before.Length() {
			return fmt.Errorf("%w: %.80q lies over %.80q", ErrMalformed, v.name, before.name)
		}
		if err := a.checkContent(v); err != nil {
			return err
		}
		before = v
	}
	return nil
}

func (a *archive) checkContent(v *stored) error {
	kind, sum := hashOf(v.Checksum.Style)
	if kind == 0 {
		return fmt.Errorf("%w: %.40q, the checksum of %.80q, is none that is known", ErrMalformed, v.Checksum.Style, v.name)
	}
	n, err := io.Copy(sum, io.NewSectionReader(a.r, a.heap+v.Offset, v.Length()))
	switch {
	case err != nil:
		return err
	case n != v.Length():
		return ErrTruncated
	case !strings.EqualFold(strings.TrimSpace(v.Checksum.Value), hex.EncodeToString(sum.Sum(nil))):
		return fmt.Errorf("%w: %.80q", ErrBadSignature, v.name)
	}
	return nil
}
