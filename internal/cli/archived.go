package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) archivedSecretsCommand() *cobra.Command {
	var serial string
	cmd := &cobra.Command{
		Use: "archived-secrets", Args: args(cobra.NoArgs),
		Short:   "Show what opens a device whose host was deleted or enrolled anew, which is recorded",
		Example: "  muster mdm archived-secrets --serial C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if serial == "" {
				return usagef("--serial is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			list, err := connection.ArchivedSecrets(cmd.Context(), serial)
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(list))
			for _, v := range list {
				rows = append(rows, []string{v.Kind, v.Value, v.UUID, c.when(v.ArchivedAt)})
			}
			return c.show(listing{value: list, columns: []string{"KIND", "VALUE", "DEVICE", "ARCHIVED"}, rows: rows,
				empty: "Nothing is archived of the serial number " + serial + "."})
		},
	}
	cmd.Flags().StringVar(&serial, "serial", "", "serial number of the device (required)")
	return cmd
}

func (c *cli) hostDeleteCommand() *cobra.Command {
	var force, yes bool
	cmd := c.hostAction("delete", "Delete a host; an enrolled device brings it back when it next connects", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		if err := c.confirm(yes, fmt.Sprintf("Delete %s with everything that is known of it?", printable(host.DisplayName))); err != nil {
			return err
		}
		remove := connection.DeleteHost
		if force {
			remove = connection.ForceDeleteHost
		}
		var held *client.HeldError
		if err := remove(ctx, host.ID); errors.As(err, &held) {
			fmt.Fprintf(c.Err, "%s.\n", printable(capitalized(held.Error())))
			return nil
		} else if err != nil {
			return err
		}
		fmt.Fprintf(c.Err, "%s was deleted.\n", printable(host.DisplayName))
		return nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "also a locked host; its PIN is then among the archived secrets")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
