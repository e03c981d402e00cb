package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/muster-mdm/muster/internal/config"
)

// Environment variables of the client. They are stronger than the file and
// weaker than flags.
const (
	envClientConfig  = config.EnvClientConfig
	envClientContext = config.EnvClientContext
	envClientURL     = config.EnvClientURL
	envClientToken   = config.EnvClientToken
)

const defaultContext = "default"

// maxContextFile bounds the file of contexts, in bytes.
const maxContextFile = 1 << 20

// The file holds tokens: nobody else may read it.
const (
	contextFileMode = 0o600
	contextDirMode  = 0o700
)

// serverContext says how one server is reached.
type serverContext struct {
	Address       string            `yaml:"address,omitempty"`
	Email         string            `yaml:"email,omitempty"`
	Token         string            `yaml:"token,omitempty"`
	TLSSkipVerify bool              `yaml:"tls-skip-verify,omitempty"`
	RootCA        string            `yaml:"rootca,omitempty"`
	URLPrefix     string            `yaml:"url-prefix,omitempty"`
	CustomHeaders map[string]string `yaml:"custom-headers,omitempty"`
	// DEPKeys are key pairs by enrollment, until its server token is finalized.
	DEPKeys map[string]depPair `yaml:"dep-keys,omitempty"`
}

// contexts is the file.
type contexts struct {
	Contexts map[string]serverContext `yaml:"contexts"`
}

// loadContexts reads the file; a missing one is empty.
func (c *cli) loadContexts() (contexts, error) {
	out := contexts{Contexts: map[string]serverContext{}}
	path, err := c.contextFile()
	if err != nil {
		return out, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("contexts: %w", err)
	}
	if info.Size() > maxContextFile {
		return out, fmt.Errorf("contexts: %s is larger than %d bytes", path, maxContextFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(c.Err, "Warning: %s holds tokens and others may read it; run: chmod 600 %s\n", path, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return out, fmt.Errorf("contexts: %w", err)
	}
	if err := yaml.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("contexts: %s: %w", path, err)
	}
	if out.Contexts == nil {
		out.Contexts = map[string]serverContext{}
	}
	return out, nil
}

// saveContexts replaces the file in one step.
func (c *cli) saveContexts(all contexts) error {
	path, err := c.contextFile()
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), contextDirMode); err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".config-*") // mode 0600
	if err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone after the rename
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(contextFileMode), temporary.Close())
	if err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	return nil
}

// contextName is the context in use.
func (c *cli) contextName() string {
	for _, name := range []string{c.context, c.Getenv(envClientContext)} {
		if name != "" {
			return name
		}
	}
	return defaultContext
}

// current is the context in use, with the environment laid over it.
func (c *cli) current() (serverContext, error) {
	all, err := c.loadContexts()
	if err != nil {
		return serverContext{}, err
	}
	ctx, ok := all.Contexts[c.contextName()]
	if !ok && c.context != "" {
		return serverContext{}, fmt.Errorf("there is no context %q; make it with: muster config set --context %s --address URL", c.context, c.context)
	}
	if address := c.Getenv(envClientURL); address != "" && address != ctx.Address {
		// A token must not go to a server that did not give it.
		ctx = serverContext{Address: address}
	}
	if token := c.Getenv(envClientToken); token != "" {
		ctx.Token = token
	}
	return ctx, nil
}

// changeContext alters the context in use and saves the file.
func (c *cli) changeContext(change func(*serverContext)) error {
	all, err := c.loadContexts()
	if err != nil {
		return err
	}
	ctx := all.Contexts[c.contextName()]
	change(&ctx)
	all.Contexts[c.contextName()] = ctx
	return c.saveContexts(all)
}

func (c *cli) contextNames() []string {
	all, err := c.loadContexts()
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(all.Contexts))
	for name := range all.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
