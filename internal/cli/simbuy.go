package cli

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/sim/appleserver"
)

// shop hands devices that somebody buys to whoever switches them on; nobody
// does before deliver says who.
type shop struct {
	mu       sync.Mutex
	switchOn func([]appleserver.Bought)
}

// sold is told of a purchase.
func (s *shop) sold(_ string, bought []appleserver.Bought) {
	s.mu.Lock()
	switchOn := s.switchOn
	s.mu.Unlock()
	if switchOn != nil {
		switchOn(bought)
	}
}

func (s *shop) deliver(switchOn func([]appleserver.Bought)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switchOn = switchOn
}

func (c *cli) simBuyCommand() *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use: "buy MODEL", Short: "Buy simulated devices for the running demo: they enroll by themselves",
		Long: "Buys devices at the simulated Apple of the running demo. They are assigned to its server, appear there as pending\n" +
			"hosts, are switched on, and enroll by themselves. MODEL is one of " + strings.Join(appleserver.Shelf(), ", ") + ".",
		Example: "  muster sim buy ipad --count 20",
		Args:    args(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return appleserver.Shelf(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			if count < 1 || count > maxDemo {
				return usagef("--count must be between 1 and %d", maxDemo)
			}
			demo, err := c.findDemo()
			if err != nil {
				return err
			}
			if demo.AppleURL == "" {
				return errors.New("the running demo has no simulated enrollment service")
			}
			bought, err := appleserver.EnrollmentAdmin{URL: demo.AppleURL}.Buy(cmd.Context(), "", given[0], count)
			if err != nil {
				return fmt.Errorf("buy: %w", err)
			}
			rows := make([][]string, 0, len(bought))
			for _, b := range bought {
				rows = append(rows, []string{b.Serial, b.Model, b.Color})
			}
			if err := c.show(listing{value: bought, columns: []string{"SERIAL", "MODEL", "COLOR"}, rows: rows}); err != nil {
				return err
			}
			fmt.Fprintln(c.Err, "They are switched on in a few seconds. Watch them with: muster get hosts --mdm-pending, and muster get hosts --mdm")
			return nil
		},
	}
	cmd.Flags().IntVar(&count, "count", 1, "how many")
	return cmd
}
