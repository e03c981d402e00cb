package store

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/muster-mdm/muster/internal/fleet"
)

var searchCols = []string{"host_id", "words"}

// searchWhere is the condition of a free-text search. A text that few hosts
// have is looked for first, in one pass over the narrow host_search; one that
// many have turns up soon in whatever order hosts are read.
func (s *session) searchWhere(query string) (string, []any, error) {
	text := strings.ToLower(query)
	if strings.Contains(text, "\n") {
		return "1 = 0", nil, nil // it stands between the words
	}
	found := s.db.dialect.contains("words")
	ids, err := s.searchWords(found, text)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("search hosts: %w", err)
	case len(ids) == 0:
		return "1 = 0", nil, nil
	case len(ids) <= inChunk:
		in, args := inList(ids)
		return "h.id IN " + in, args, nil
	}
	return "EXISTS (SELECT 1 FROM host_search hq WHERE hq.host_id = h.id AND " + found + ")", []any{text}, nil
}

// searchShare is how many hosts one reader looks through at least.
const searchShare = 20_000

// searchWords returns more than inChunk hosts, or all, whose words have the
// text. The embedded database looks through parts of a large fleet at once, as
// servers do by themselves.
func (s *session) searchWords(found, text string) ([]any, error) {
	const query = "SELECT host_id FROM host_search WHERE "
	readers, last := int64(1), int64(0)
	if s.stmts == &s.db.stmts {
		if _, err := s.get("SELECT COALESCE(MAX(host_id), 0) FROM host_search", nil, &last); err != nil {
			return nil, err
		}
		readers = min(int64(runtime.GOMAXPROCS(0)), last/searchShare+1, sqliteReaders/2)
	}
	if readers == 1 {
		return collect(s, scanKey, query+found+" LIMIT ?", text, inChunk+1)
	}
	parts, errs := make([][]any, readers), make([]error, readers)
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			parts[i], errs[i] = collect(s, scanKey, query+"host_id > ? AND host_id <= ? AND "+found+" LIMIT ?",
				last*i/readers, last*(i+1)/readers, text, inChunk+1)
		})
	}
	all.Wait()
	return slices.Concat(parts...), errors.Join(errs...)
}

// searchValues are in the order of searchCols.
func searchValues(h *fleet.Host) []any { return []any{int64(h.ID), wordsOf(h)} }

// wordsOf is what a free-text search finds a host by.
func wordsOf(h *fleet.Host) string {
	var words []string
	for _, w := range []string{clip(h.Hostname, 255), clip(h.ComputerName, 255), clip(h.HardwareSerial, 100), clip(h.UUID, 100), clip(h.PrimaryMAC, 40)} {
		if w = strings.ToLower(w); w != "" && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, "\n")
}
