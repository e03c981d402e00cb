package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/fleet"
)

var searchCols = []string{"host_id", "words"}

// searchValues are in the order of searchCols.
func searchValues(h *fleet.Host) []any { return []any{int64(h.ID), searchWords(h)} }

// searchWhere is the condition of a free-text search. A text that few hosts
// have is looked for first, in one pass over the narrow host_search; one that
// many have turns up soon in whatever order hosts are read.
func (s *session) searchWhere(query string) (string, []any, error) {
	text := strings.ToLower(query)
	if strings.Contains(text, "\n") {
		return "1 = 0", nil, nil // it stands between the words
	}
	found := s.db.dialect.contains("words")
	ids, err := collect(s, scanKey, "SELECT host_id FROM host_search WHERE "+found+" LIMIT ?", text, inChunk+1)
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

// searchWords is what a free-text search finds a host by.
func searchWords(h *fleet.Host) string {
	var words []string
	for _, w := range []string{clip(h.Hostname, 255), clip(h.ComputerName, 255), clip(h.HardwareSerial, 100), clip(h.UUID, 100), clip(h.PrimaryMAC, 40)} {
		if w = strings.ToLower(w); w != "" && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, "\n")
}
