package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/app"
)

// depPair is the key pair of an enrollment whose server token is on its way.
type depPair struct {
	Certificate string `yaml:"certificate"`
	PrivateKey  string `yaml:"private-key"`
}

func (c *cli) enrollmentsDEPCommand() *cobra.Command {
	return group("dep", "Enrollments of devices that Apple assigns to this server",
		group("set-token", "Give an enrollment its server token, with a key that is made here", c.depSetupCommand(), c.depFinalizeCommand()),
		c.depListCommand(), c.depSyncCommand())
}

// depEnrollment finds an automatic enrollment.
func depEnrollment(ctx context.Context, connection *client.Client, id int64) (apiv1.Enrollment, error) {
	list, err := connection.Enrollments(ctx)
	if err != nil {
		return apiv1.Enrollment{}, err
	}
	for _, e := range list {
		switch {
		case e.ID != id:
		case e.Type != "automatic":
			return e, usagef("enrollment %d (%s) is %s; make an automatic one with: muster apple-mdm enrollments create --type automatic --name NAME", id, e.Name, e.Type)
		default:
			return e, nil
		}
	}
	return apiv1.Enrollment{}, &client.Error{Status: http.StatusNotFound,
		Message: fmt.Sprintf("there is no enrollment %d; list them with: muster apple-mdm enrollments list", id)}
}

func (c *cli) depSetupCommand() *cobra.Command {
	var id int64
	var path string
	cmd := &cobra.Command{
		Use: "setup", Short: "Make a key pair and write the certificate to upload at Apple", Args: args(cobra.NoArgs),
		Long: "Makes a key pair. The certificate is written to a file, to be uploaded at " + businessPortal + ".\n" +
			"The private key is kept in the configuration of this command until the token is finalized.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id < 1 {
				return usagef("--enrollment is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			e, err := depEnrollment(cmd.Context(), connection, id)
			if err != nil {
				return err
			}
			if e.ServerTokenID != nil {
				return fmt.Errorf("enrollment %d (%s) has a server token already; renew it with: muster abm renew %d --token FILE", id, e.Name, *e.ServerTokenID)
			}
			certificate, key, err := app.NewServerTokenPair(c.Now())
			if err != nil {
				return err
			}
			const mode = 0o644
			if err := os.WriteFile(path, certificate, mode); err != nil {
				return fmt.Errorf("write the certificate: %w", err)
			}
			err = c.changeContext(func(s *serverContext) {
				if s.DEPKeys == nil {
					s.DEPKeys = map[string]depPair{}
				}
				s.DEPKeys[strconv.FormatInt(id, 10)] = depPair{Certificate: string(certificate), PrivateKey: string(key)}
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "The certificate is in %s. Upload it at %s, download the token, then run:\n"+
				"  muster apple-mdm enrollments dep set-token finalize --enrollment=%d --encrypted-auth-token=FILE.p7m\n", path, businessPortal, id)
			return nil
		},
	}
	cmd.Flags().Int64Var(&id, "enrollment", 0, "id of an automatic enrollment (required)")
	cmd.Flags().StringVar(&path, "out", "muster-apple-dep.pem", "file to write the certificate to")
	return cmd
}

func (c *cli) depFinalizeCommand() *cobra.Command {
	var id int64
	var path string
	cmd := &cobra.Command{
		Use: "finalize", Short: "Upload the server token that Apple encrypted to the certificate", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id < 1 || path == "" {
				return usagef("--enrollment and --encrypted-auth-token are required")
			}
			name := strconv.FormatInt(id, 10)
			all, err := c.loadContexts()
			if err != nil {
				return err
			}
			pair, ok := all.Contexts[c.contextName()].DEPKeys[name]
			if !ok {
				return fmt.Errorf("there is no key for enrollment %d here; begin with: muster apple-mdm enrollments dep set-token setup --enrollment=%d", id, id)
			}
			err = c.withToken("encrypted-auth-token", path, func(connection *client.Client, file []byte) (apiv1.ServerToken, error) {
				return connection.AddServerToken(cmd.Context(), client.ServerTokenUpload{Token: file, EnrollmentID: id,
					Certificate: []byte(pair.Certificate), PrivateKey: []byte(pair.PrivateKey)})
			})
			if err != nil {
				return err
			}
			return c.forgetDEPKey(id)
		},
	}
	cmd.Flags().Int64Var(&id, "enrollment", 0, "id of an automatic enrollment (required)")
	cmd.Flags().StringVar(&path, "encrypted-auth-token", "", "the .p7m file from Apple (required)")
	return cmd
}

// forgetDEPKey drops the key pair of an enrollment, if there is one.
func (c *cli) forgetDEPKey(id int64) error {
	all, err := c.loadContexts()
	if err != nil {
		return err
	}
	name := strconv.FormatInt(id, 10)
	if _, kept := all.Contexts[c.contextName()].DEPKeys[name]; !kept {
		return nil
	}
	return c.changeContext(func(s *serverContext) { delete(s.DEPKeys, name) })
}

func (c *cli) depListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list ID", Short: "List the devices of an automatic enrollment", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			return c.listDEPDevices(cmd.Context(), client.DEPFilter{EnrollmentID: id})
		},
	}
}

func (c *cli) depSyncCommand() *cobra.Command {
	return &cobra.Command{
		Use: "sync-profiles ID", Short: "Read an enrollment's devices from Apple anew and assign profiles to those without", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0])
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			e, err := depEnrollment(cmd.Context(), connection, id)
			if err != nil {
				return err
			}
			if e.ServerTokenID == nil {
				return fmt.Errorf("enrollment %d (%s) has no server token yet; begin with: muster apple-mdm enrollments dep set-token setup --enrollment=%d", id, e.Name, id)
			}
			return c.resync(cmd.Context(), connection, *e.ServerTokenID)
		},
	}
}
