package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/muster-mdm/muster/internal/kit/near"
)

// MaxFileBytes bounds the YAML file and every file that holds a secret.
const MaxFileBytes = 1 << 20

// EnvConfigFile names the YAML file when no --config flag does.
const EnvConfigFile = EnvPrefix + "CONFIG"

// Environment variables of the command line client; a server does not read
// them and does not stumble over them either.
const (
	EnvClientConfig  = EnvPrefix + "CLIENT_CONFIG"
	EnvClientContext = EnvPrefix + "CONTEXT"
	EnvClientURL     = EnvPrefix + "URL"
	EnvClientToken   = EnvPrefix + "TOKEN"
)

// Sources is where settings come from, weakest last.
type Sources struct {
	Flags   map[string]string // by setting name or file variant; only those given
	Environ []string          // as os.Environ gives it
	File    string            // path of the YAML file; empty: MUSTER_CONFIG, else none
	// Open opens the YAML file and secret files; nil: os.Open.
	Open func(path string) (fs.File, error)
}

// given is one value with where it came from, for error messages.
type given struct {
	text   string
	origin string
}

// Load merges the sources, fills defaults and validates. The error lists every
// fault, one per line.
func Load(src Sources) (Config, error) {
	if src.Open == nil {
		src.Open = func(path string) (fs.File, error) { return os.Open(path) }
	}
	env, faults := environment(src.Environ)
	path := src.File
	if path == "" {
		path = env[EnvConfigFile]
	}
	file := map[string]given{}
	if path != "" {
		var err error
		file, err = readYAML(src, path)
		faults = append(faults, err)
	}
	var c Config
	for _, s := range Settings() {
		value, err := src.find(s, env, file)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if value == nil {
			continue
		}
		if err := s.bind(&c).Set(value.text); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", value.origin, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return Config{}, err
	}
	c = c.WithDefaults()
	return c, c.Validate()
}

// find returns the strongest value of a setting; nil when nobody gave one.
func (src Sources) find(s Setting, env map[string]string, file map[string]given) (*given, error) {
	layers := []func(name string) *given{
		func(name string) *given {
			text, ok := src.Flags[name]
			return found(ok, text, "--"+flagName(name))
		},
		func(name string) *given {
			text, ok := env[envName(name)]
			return found(ok, text, envName(name))
		},
		func(name string) *given {
			g, ok := file[name]
			return found(ok, g.text, g.origin)
		},
	}
	for _, layer := range layers {
		value := layer(s.Name)
		if !s.Secret {
			if value != nil {
				return value, nil
			}
			continue
		}
		pointer := layer(s.FileName())
		switch {
		case value != nil && pointer != nil:
			return nil, fmt.Errorf("%s and %s are both set; keep one", value.origin, pointer.origin)
		case value != nil:
			return value, nil
		case pointer != nil:
			text, err := src.readFile(pointer.text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pointer.origin, err)
			}
			return &given{text: string(text), origin: pointer.origin}, nil
		}
	}
	return nil, nil
}

func found(ok bool, text, origin string) *given {
	if !ok {
		return nil
	}
	return &given{text: text, origin: origin}
}

func (src Sources) readFile(path string) ([]byte, error) {
	f, err := src.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, MaxFileBytes)
	}
	return data, nil
}

// environment picks our variables and reports those that nothing reads.
// An empty variable counts as not given, as in compose files.
func environment(environ []string) (map[string]string, []error) {
	known := map[string]bool{
		EnvConfigFile: true, EnvClientConfig: true, EnvClientContext: true, EnvClientURL: true, EnvClientToken: true,
	}
	for _, name := range knownNames() {
		known[envName(name)] = true
	}
	env := map[string]string{}
	var faults []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || injected(name) {
			continue
		}
		if !known[name] {
			faults = append(faults, fmt.Errorf("%s: unknown variable; did you mean %s?", name, near.Nearest(name, slices.Collect(maps.Keys(known)))))
			continue
		}
		if value != "" {
			env[name] = value
		}
	}
	return env, faults
}

// testPrefix begins, after EnvPrefix, what points the project's tests at
// databases: a server under test inherits it.
const testPrefix = "TEST"

// injected reports names that Kubernetes puts into every container next to a
// service called "muster" (MUSTER_SERVICE_HOST, MUSTER_PORT_8080_TCP ...).
func injected(name string) bool {
	rest := strings.TrimPrefix(name, EnvPrefix)
	if strings.HasPrefix(rest, testPrefix) {
		return true
	}
	return strings.HasPrefix(rest, "SERVICE_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}

// knownNames lists settings and their file variants.
func knownNames() []string {
	var names []string
	for _, s := range Settings() {
		names = append(names, s.Name)
		if s.Secret {
			names = append(names, s.FileName())
		}
	}
	return names
}
