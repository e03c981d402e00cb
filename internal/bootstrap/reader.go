package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/muster-mdm/muster/internal/fleet"
)

// reader reads a package from its pieces. It keeps one of them.
type reader struct {
	ctx   context.Context //nolint:containedctx // io.ReaderAt has none; a reader lives as long as a call
	store Store
	p     *fleet.BootstrapPackage
	n     int // of the piece that is kept; -1: none
	piece []byte
	at    int64 // of Read
}

// readError is a failure of the store, which is not the package's fault.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func (s *Service) reader(ctx context.Context, p *fleet.BootstrapPackage) *reader {
	return &reader{ctx: ctx, store: s.store, p: p, n: -1}
}

// Content reads a package. It is to be used by one goroutine.
func (s *Service) Content(ctx context.Context, p *fleet.BootstrapPackage) io.ReadSeeker {
	return s.reader(ctx, p)
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(into []byte, at int64) (int, error) {
	read := 0
	for read < len(into) {
		if at >= r.p.Size {
			return read, io.EOF
		}
		if err := r.load(int(at / fleet.PackagePiece)); err != nil {
			return read, err
		}
		n := copy(into[read:], r.piece[at%fleet.PackagePiece:])
		read += n
		at += int64(n)
	}
	return read, nil
}

// load keeps a piece.
func (r *reader) load(n int) error {
	if r.n == n {
		return nil
	}
	piece, err := r.store.Piece(r.ctx, r.p.ID, n)
	if err != nil {
		return &readError{err}
	}
	want := min(r.p.Size-int64(n)*fleet.PackagePiece, fleet.PackagePiece)
	if int64(len(piece)) != want {
		return &readError{fmt.Errorf("piece %d of package %d has %d bytes, not %d: it was deleted meanwhile", n, r.p.ID, len(piece), want)}
	}
	r.n, r.piece = n, piece
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(into []byte) (int, error) {
	n, err := r.ReadAt(into, r.at)
	r.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.p.Size
	}
	if offset < 0 {
		return 0, errors.New("seek to before the package")
	}
	r.at = offset
	return offset, nil
}
