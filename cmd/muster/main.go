// Command muster is the MDM server and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/cli"
)

// Set at build time with -ldflags "-X main.version=1.2.3 -X main.revision=...".
var (
	version   = "dev"
	branch    = ""
	revision  = ""
	buildDate = ""
	buildUser = ""
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks to finish; a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	return cli.Execute(ctx, cli.Deps{Version: build()}, os.Args[1:])
}

// build tells what was built, from the flags or from what Go recorded.
func build() apiv1.Version {
	v := apiv1.Version{Version: version, Branch: branch, Revision: revision, GoVersion: runtime.Version(), BuildDate: buildDate, BuildUser: buildUser}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version // go install module@version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && v.Revision == "":
			v.Revision = s.Value
		case s.Key == "vcs.time" && v.BuildDate == "":
			v.BuildDate = s.Value
		}
	}
	return v
}
