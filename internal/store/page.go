package store

import (
	"strconv"

	"github.com/muster-mdm/muster/internal/fleet"
)

// maxPage bounds a page when a caller gave none.
const maxPage = 10000

// pageTail selects one row more than the page, to know whether there is more.
func pageTail(p fleet.Page) (string, []any) {
	size := p.Size
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	offset := 0
	if p.After == "" {
		offset = p.Number * size
	}
	return " LIMIT ? OFFSET ?", []any{size + 1, offset}
}

// cutPage drops the extra row of pageTail.
func cutPage[T any](rows []T, p fleet.Page) ([]T, fleet.PageMeta) {
	size := p.Size
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	meta := fleet.PageMeta{HasPrevious: p.Number > 0 || p.After != ""}
	if len(rows) > size {
		rows, meta.HasNext = rows[:size], true
	}
	return rows, meta
}

func parseInt(v string) (int64, error) { return strconv.ParseInt(v, 10, 64) }
