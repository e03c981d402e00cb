package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

// errExpiring says that something expires: an exit code of its own.
var errExpiring = errors.New("something expires")

func (c *cli) getExpiringCommand() *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use: "expiring", Short: "List certificates and tokens that expire soon or that Apple refuses; exit code 8 when there are any", Args: args(cobra.NoArgs),
		Example: "  muster get expiring --days 14",
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Expiring(cmd.Context(), days)
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(out.Expiring)+len(out.Identities.Nearest))
			for _, t := range out.Expiring {
				rows = append(rows, []string{t.Kind, t.Name, c.when(t.NotAfter), strconv.Itoa(t.DaysLeft) + " days left"})
			}
			for _, t := range out.Refused {
				rows = append(rows, []string{"server_token", t.Name, notYet, t.Reason})
			}
			for _, i := range out.Identities.Nearest {
				note := "not asked yet"
				switch {
				case i.Renewing:
					note = "renewal sent, the device has not come"
				case i.FailedAttempts > 0:
					note = fmt.Sprintf("renewal failed %d times: %s", i.FailedAttempts, i.Fault)
				}
				rows = append(rows, []string{"device_identity", i.HardwareSerial, c.when(i.NotAfter), note})
			}
			if n := out.Identities.Count - len(out.Identities.Nearest); n > 0 {
				rows = append(rows, []string{"device_identity", fmt.Sprintf("and %d more", n), "", ""})
			}
			err = c.show(listing{value: out, rows: rows, empty: fmt.Sprintf("Nothing expires within %d days.", days), columns: []string{"KIND", "NAME", "EXPIRES", "NOTE"}})
			if err == nil && len(rows) > 0 {
				return errExpiring
			}
			return err
		},
	}
	const month = 30
	cmd.Flags().IntVar(&days, "days", month, "how far to look ahead")
	return cmd
}
