package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/sim/appleserver"
	"github.com/muster-mdm/muster/sim/scenario"
)

// simAPNsCommand runs the simulated push service alone, for a server that is
// started by hand.
func (c *cli) simAPNsCommand() *cobra.Command {
	var dir, listen, wake string
	cmd := &cobra.Command{
		Use: "apns", Short: "Run a simulated push service",
		Long: "Runs a simulated Apple push service until it is stopped. Into --dir it writes a push certificate and key to upload,\n" +
			"and the root certificate that the server is to trust, and prints the settings of the server.",
		Example: "  muster sim apns --dir ./apns",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.simAPNs(cmd.Context(), dir, appleserver.Options{Listen: listen, WakeListen: wake})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "apns", "directory for the certificates")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8413", "address of the push service, on this machine")
	cmd.Flags().StringVar(&wake, "wake-listen", "127.0.0.1:8414", "address at which simulated devices wait for pushes")
	return cmd
}

func (c *cli) simAPNs(ctx context.Context, dir string, o appleserver.Options) error {
	push, err := appleserver.StartPush(ctx, o)
	if err != nil {
		return fmt.Errorf("start the simulated push service: %w", err)
	}
	cert, key, err := push.NewPushCertificate(scenario.Topic)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	for name, body := range map[string][]byte{"push.pem": cert, "push.key": key, "root.pem": push.RootPEM()} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), body, 0o600)
		}
	}
	if err != nil {
		return errors.Join(err, push.Close())
	}
	fmt.Fprintf(c.Out, "export MUSTER_APPLE_APNS_URL=%s\nexport MUSTER_APPLE_APNS_ROOT_CA_FILE=%s\n# muster apns upload --cert %s --key %s\n# muster sim apple --wake-url %s\n",
		push.URL(), filepath.Join(dir, "root.pem"), filepath.Join(dir, "push.pem"), filepath.Join(dir, "push.key"), push.WakeURL())
	<-ctx.Done()
	return push.Close()
}
