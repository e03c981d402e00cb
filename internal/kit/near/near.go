// Package near finds the known name that a mistyped one was meant to be.
package near

import (
	"slices"
	"strings"
)

// longest bounds the names that are compared: nobody mistypes a longer one.
const longest = 128

// Distance is the number of bytes to insert, delete or replace, whatever the
// case of letters.
func Distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Nearest returns the nearest of the known names, however far; "" when there is
// none.
func Nearest(name string, known []string) string {
	name = name[:min(len(name), longest)]
	best, least := "", 0
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := Distance(name, k); best == "" || d < least {
			best, least = k, d
		}
	}
	return best
}

// Of returns the nearest of the known names; "" when none looks like it: more
// than a third of the letters would have to change, and more than two.
func Of(name string, known []string) string {
	if len(name) > longest {
		return ""
	}
	best, least := "", max(2, len(name)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := Distance(name, k); d < least && d < max(len(k), 1) {
			best, least = k, d
		}
	}
	return best
}
