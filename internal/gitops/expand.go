package gitops

import "strings"

// expand fills in $NAME and ${NAME}. \$ is a dollar sign, and so is one that no
// name follows. Names that keep accepts stay as they are. missing are those
// that the environment does not have.
func expand(text string, getenv func(string) string) (out string, missing []string) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && text[i+1] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		name, length := "", 0
		if text[i] == '$' {
			name, length = reference(text[i+1:])
		}
		switch {
		case name == "":
			b.WriteByte(text[i])
			continue
		case strings.HasPrefix(name, "FLEET_VAR_"):
			b.WriteString(text[i : i+1+length]) // the device's business
		default:
			value := getenv(name)
			if value == "" {
				missing = append(missing, name)
			}
			b.WriteString(value)
		}
		i += length
	}
	return b.String(), missing
}

// reference reads NAME or {NAME} and tells how long it is.
func reference(text string) (name string, length int) {
	braces := strings.HasPrefix(text, "{")
	if braces {
		text = text[1:]
	}
	n := 0
	for n < len(text) && (text[n] == '_' || text[n] >= 'A' && text[n] <= 'Z' || text[n] >= 'a' && text[n] <= 'z' || n > 0 && text[n] >= '0' && text[n] <= '9') {
		n++
	}
	switch {
	case n == 0:
		return "", 0
	case !braces:
		return text[:n], n
	case n < len(text) && text[n] == '}':
		return text[:n], n + 2
	}
	return "", 0
}

// escape makes text that expand gives back.
func escape(text string) string { return strings.ReplaceAll(text, "$", `\$`) }
