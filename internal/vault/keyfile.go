package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyFileMode is for the owner only: the file opens every secret.
const keyFileMode = 0o600

// LoadKeyFile reads a key file: one key a line, the first seals. A file that
// others may read is refused.
func LoadKeyFile(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others: chmod 600 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseKeys(path, string(text))
}

func parseKeys(path, text string) ([]Key, error) {
	var keys []Key
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	return keys, nil
}

// EnsureKeyFile reads the key file, making it with a new key if there is none.
func EnsureKeyFile(path string) ([]Key, error) {
	keys, err := LoadKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if err := writeKeyFile(path, []string{NewKeyText()}); err != nil {
		return nil, err
	}
	return LoadKeyFile(path)
}

// AddKey puts a new key first in the file: values are sealed with it from
// then on, and the older keys still open.
func AddKey(path string) error {
	lines, err := keyLines(path)
	if err != nil {
		return err
	}
	return writeKeyFile(path, append([]string{NewKeyText()}, lines...))
}

// DropOldKeys leaves only the first key. Call it when nothing is sealed with
// the others any more.
func DropOldKeys(path string) error {
	lines, err := keyLines(path)
	if err != nil {
		return err
	}
	return writeKeyFile(path, lines[:1])
}

func keyLines(path string) ([]string, error) {
	if _, err := LoadKeyFile(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// writeKeyFile replaces the file as a whole: a crash leaves the old or the
// new one.
func writeKeyFile(path string, lines []string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".muster-key-*")
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	text := "# Server keys of Muster. The first one seals, all of them open. Keep a copy in a safe place.\n" + strings.Join(lines, "\n") + "\n"
	if err := tmp.Chmod(keyFileMode); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if _, err := tmp.WriteString(text); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := tmp.Sync(); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable: secrets are sealed with the key next.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
