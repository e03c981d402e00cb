package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/internal/app"
)

func (c *cli) apnsSignCSRCommand() *cobra.Command {
	var csr, chain, key, out string
	cmd := &cobra.Command{
		Use: "sign-csr", Short: "Countersign a push certificate request with an MDM vendor certificate",
		Long: "For holders of an MDM vendor certificate of Apple's: countersigns the request that `muster generate mdm-apple` wrote and\n" +
			"writes the file to upload at " + portal + ". It needs no server.",
		Example: "  muster apns sign-csr --csr muster-mdm-csr.csr --chain vendor-chain.pem --key vendor.key --out for-apple.txt",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if csr == "" || chain == "" || key == "" {
				return usagef("--csr, --chain and --key are required")
			}
			parts := make([][]byte, 3)
			for i, path := range []string{csr, chain, key} {
				var err error
				if parts[i], err = os.ReadFile(path); err != nil {
					return err
				}
			}
			signed, err := app.SignPushCSR(parts[0], parts[1], parts[2])
			if err != nil {
				return fmt.Errorf("countersign %s: %w", csr, err)
			}
			if err := os.WriteFile(out, signed, 0o600); err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "Upload %s at %s, then give the certificate to the server with: muster apns upload --cert FILE\n", out, portal)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&csr, "csr", "", "the request, PEM or DER")
	f.StringVar(&chain, "chain", "", "PEM file: the vendor certificate, Apple's intermediate, Apple's root, in this order")
	f.StringVar(&key, "key", "", "the vendor certificate's private key in PEM form")
	f.StringVar(&out, "out", "push-csr-for-apple.txt", "file to write")
	return cmd
}
