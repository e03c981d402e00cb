package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// renewWithin is how early the end of a certificate is warned of.
const renewWithin = 30 * 24 * time.Hour

const portal = "https://identity.apple.com/pushcert"

func (c *cli) getMDMAppleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "mdm-apple", Short: "Show the Apple push certificate", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.PushCertificate(cmd.Context())
			if client.StatusOf(err) == http.StatusNotFound {
				return fmt.Errorf("%w\nMake a request for one with: muster generate mdm-apple", err)
			}
			if err != nil {
				return err
			}
			return c.showPush(out)
		},
	}
}

func (c *cli) showPush(p apiv1.PushCertificate) error {
	facts := [][]string{
		{"Common name (CN)", p.CommonName}, {"Serial number", p.SerialNumber}, {"Issuer", p.Issuer}, {"Renew date", c.when(p.RenewDate)}, {"Topic", p.Topic},
	}
	left := p.RenewDate.Sub(c.Now())
	switch {
	case left <= 0:
		fmt.Fprintf(c.Err, "Warning: the push certificate has expired: devices cannot be woken. Renew it with the same Apple ID at %s\n", portal)
	case left < renewWithin:
		fmt.Fprintf(c.Err, "Warning: the push certificate expires in %d days. Renew it with the same Apple ID at %s\n", int(left.Hours()/24), portal)
	}
	return c.show(listing{value: p, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
}

func (c *cli) generateCommand() *cobra.Command {
	return group("generate", "Make requests for certificates", c.generateMDMAppleCommand(), c.generateMDMAppleBMCommand())
}

func (c *cli) generateMDMAppleCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "mdm-apple", Short: "Make a request for an Apple push certificate",
		Long: "Makes a key on the server and writes the certificate signing request for it to a file.\n" +
			"Upload the file at " + portal + ", then give the certificate to the server: muster apns upload --cert FILE",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			csr, err := connection.RequestCSR(cmd.Context())
			if err != nil {
				return err
			}
			const mode = 0o600
			if err := os.WriteFile(path, csr, mode); err != nil {
				return fmt.Errorf("write the request: %w", err)
			}
			c.sayNextOfCSR(path, csr)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "csr", "muster-mdm-csr.csr", "file to write the request to")
	return cmd
}

// sayNextOfCSR tells what to do with the request, which depends on whether a
// vendor has countersigned it.
func (c *cli) sayNextOfCSR(path string, csr []byte) {
	fmt.Fprintf(c.Err, "The request is in %s.\n", path)
	if bytes.HasPrefix(csr, []byte("-----BEGIN CERTIFICATE REQUEST")) {
		fmt.Fprintln(c.Err, "It is not countersigned, because the server has no apple.push_signer_url: have it signed with an MDM vendor certificate first.")
	}
	fmt.Fprintf(c.Err, "Upload it at %s, then run: muster apns upload --cert FILE\n", portal)
}

func (c *cli) apnsCommand() *cobra.Command {
	return group("apns", "Give the server its Apple push certificate", c.apnsUploadCommand(), c.apnsSignCSRCommand(), c.apnsDeleteCommand())
}

func (c *cli) apnsUploadCommand() *cobra.Command {
	var cert, key, p12, password, passwordFile string
	var force bool
	cmd := &cobra.Command{
		Use: "upload", Short: "Upload the push certificate",
		Example: "  muster apns upload --cert MDM_Muster_Certificate.pem\n  muster apns upload --cert push.pem --key push.key\n  muster apns upload --p12 push.p12 --p12-password-file secret.txt",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (cert == "") == (p12 == "") {
				return usagef("give either --cert (with --key when the key is not on the server) or --p12")
			}
			upload := client.PushUpload{Force: force}
			var err error
			for _, file := range []struct {
				path string
				to   *[]byte
			}{{cert, &upload.Certificate}, {key, &upload.PrivateKey}, {p12, &upload.PKCS12}} {
				if file.path == "" {
					continue
				}
				if *file.to, err = os.ReadFile(file.path); err != nil {
					return err
				}
			}
			if p12 != "" {
				if upload.Password, err = c.secret(password, passwordFile, "Password of "+p12, false); err != nil {
					return err
				}
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.UploadPushCertificate(cmd.Context(), upload)
			if client.StatusOf(err) == http.StatusConflict {
				return fmt.Errorf("%w\nRenew the certificate with the Apple ID that made the present one, or add --force to lose those devices", err)
			}
			if err != nil {
				return err
			}
			return c.showPush(out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cert, "cert", "", "certificate from Apple in PEM form")
	f.StringVar(&key, "key", "", "its key in PEM form; not needed after muster generate mdm-apple")
	f.StringVar(&p12, "p12", "", "certificate and key in one file")
	f.StringVar(&password, "p12-password", "", "password of the .p12 file; better leave it out and be asked")
	f.StringVar(&passwordFile, "p12-password-file", "", "file that holds the password of the .p12 file")
	f.BoolVar(&force, "force", false, "take a certificate with another topic: every enrolled device is lost")
	return cmd
}

func (c *cli) apnsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete the push certificate", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.confirm(yes, "Delete the push certificate? No device can be woken without it."); err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if err := connection.DeletePushCertificate(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintln(c.Err, "The push certificate is deleted.")
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
