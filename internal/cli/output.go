package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

func formats() []string { return []string{"table", "json", "yaml", "csv"} }

// format is the wanted output.
func (c *cli) format() (string, error) {
	switch {
	case c.asJSON && c.asYAML, c.output != "" && (c.asJSON || c.asYAML):
		return "", usagef("give one of -o, --json and --yaml")
	case c.asJSON:
		return "json", nil
	case c.asYAML:
		return "yaml", nil
	case c.output == "":
		return "table", nil
	}
	for _, name := range formats() {
		if c.output == name {
			return name, nil
		}
	}
	return "", usagef("-o must be table, json, yaml or csv")
}

// listing is an answer in its two forms.
type listing struct {
	value   any      // as JSON and YAML
	columns []string // of the table and CSV
	rows    [][]string
	empty   string // said, on standard error, instead of an empty table
	// text replaces the table for people.
	text func(w io.Writer)
}

// show prints the listing in the wanted format.
func (c *cli) show(l listing) error {
	format, err := c.format()
	if err != nil {
		return err
	}
	switch format {
	case "json":
		return writeJSON(c.Out, l.value)
	case "yaml":
		return writeYAML(c.Out, l.value)
	case "csv":
		return writeCSV(c.Out, l.columns, l.rows)
	}
	if l.text != nil {
		l.text(c.Out)
		return nil
	}
	if len(l.rows) == 0 && l.empty != "" {
		fmt.Fprintln(c.Err, l.empty)
		return nil
	}
	return writeGrid(c.Out, l.columns, l.rows)
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// writeYAML shows the same keys in the same order as JSON does.
func writeYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil { // JSON is YAML
		return err
	}
	blockStyle(&node)
	encoder := yaml.NewEncoder(w)
	const indent = 2
	encoder.SetIndent(indent)
	if err := encoder.Encode(&node); err != nil {
		return err
	}
	return encoder.Close()
}

// blockStyle drops JSON's braces and quotes.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		n.Style = 0
	} else {
		n.Style &^= yaml.DoubleQuotedStyle // the encoder quotes where it must
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// writeCSV leaves no cell that a spreadsheet would run as a formula.
func writeCSV(w io.Writer, columns []string, rows [][]string) error {
	writer := csv.NewWriter(w)
	heads := make([]string, 0, len(columns))
	for _, name := range columns {
		heads = append(heads, strings.ToLower(strings.ReplaceAll(name, " ", "_")))
	}
	if err := writer.Write(heads); err != nil {
		return err
	}
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			if cell == notYet { // nothing, which a table shows by a dash
				cell = ""
			}
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				cell = "'" + cell
			}
			safe[i] = cell
		}
		if err := writer.Write(safe); err != nil {
			return err
		}
	}
	writer.Flush()
	return writer.Error()
}

// writeGrid draws the table.
func writeGrid(w io.Writer, columns []string, rows [][]string) error {
	widths := make([]int, len(columns))
	clean := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{columns}, rows...) {
		cells := make([]string, len(columns))
		for i := range columns {
			cells[i] = printable(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
		clean = append(clean, cells)
	}
	var b strings.Builder
	rule := func() {
		for _, width := range widths {
			b.WriteString("+" + strings.Repeat("-", width+2))
		}
		b.WriteString("+\n")
	}
	rule()
	for n, cells := range clean {
		for i, cell := range cells {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
		if n == 0 {
			rule()
		}
	}
	if len(rows) > 0 {
		rule()
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable keeps devices' names from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// printableLines is printable of each line.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// notYet is shown for a time that has not come.
const notYet = "-"

// when shows a time with its zone; a dash for "not yet".
func (c *cli) when(t time.Time) string {
	const first = 2001 // the API says 2000-01-01 for "not yet"
	if t.IsZero() || t.Year() < first {
		return notYet
	}
	return t.In(c.Zone).Format("2006-01-02 15:04:05 MST")
}

func (c *cli) whenOrNot(t *time.Time) string {
	if t == nil {
		return notYet
	}
	return c.when(*t)
}
