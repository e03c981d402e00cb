package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/muster-mdm/muster/internal/config"
	"github.com/muster-mdm/muster/sim/appledev"
)

// scratch goes with the test process.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "muster-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// What a test starts ends with it: servers, simulators, connections.
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// program builds the muster binary once and returns its path.
func program(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "muster")
	out, err := exec.Command("go", "build", "-o", path, "github.com/muster-mdm/muster/cmd/muster").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// environment is this process's, without what configures a server.
func environment(more ...string) []string {
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, config.EnvPrefix) })
	return append(own, more...)
}

// keyCount is how many RSA keys all simulated devices share: making keys is
// the dearest thing they do.
const keyCount = 16

var keys = sync.OnceValue(func() *appledev.KeyPool {
	pool, err := appledev.NewKeyPool(keyCount, 2048)
	if err != nil {
		panic(err)
	}
	return pool
})
