package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/muster-mdm/muster/client"
)

// Completion must feel immediate: it gives up early and offers few.
const (
	completionTimeout = 3 * time.Second
	completionHosts   = 50
)

// complete offers values for a flag.
func (c *cli) complete(cmd *cobra.Command, flag string, offer func(ctx context.Context, typed string) []string) {
	// It fails only for a flag that does not exist, which every test would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return offer(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
	})
}

// completeHost offers hosts for the first argument.
func (c *cli) completeHost(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offerHosts(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
}

// completeFirst offers values for the first argument.
func (c *cli) completeFirst(offer func(ctx context.Context, typed string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// offer lists those names that begin with what is typed after the last comma.
func (c *cli) offer(ctx context.Context, typed string, names func(context.Context, *client.Client) ([]string, error)) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	connection, err := c.connect()
	if err != nil {
		return nil
	}
	list, err := names(ctx, connection)
	if err != nil {
		return nil
	}
	before, last := "", typed
	if comma := strings.LastIndexByte(typed, ','); comma >= 0 {
		before, last = typed[:comma+1], typed[comma+1:]
	}
	var out []string
	for _, name := range list {
		if strings.HasPrefix(strings.ToLower(name), strings.ToLower(last)) {
			out = append(out, before+printable(name))
		}
	}
	return out
}

// offerHosts lists hosts whose serial number, name or UUID holds what is typed
// after the last comma.
func (c *cli) offerHosts(ctx context.Context, typed string) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	connection, err := c.connect()
	if err != nil {
		return nil
	}
	before, last := "", typed
	if comma := strings.LastIndexByte(typed, ','); comma >= 0 {
		before, last = typed[:comma+1], typed[comma+1:]
	}
	page, err := connection.HostsPage(ctx, client.HostFilter{Query: last}, 0, completionHosts)
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range page.Hosts {
		for _, name := range []string{h.HardwareSerial, h.Hostname, h.UUID} {
			if name != "" && strings.HasPrefix(strings.ToLower(name), strings.ToLower(last)) {
				out = append(out, before+name+"\t"+printable(h.DisplayName))
				break
			}
		}
	}
	return out
}
