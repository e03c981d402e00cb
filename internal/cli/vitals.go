package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

func (c *cli) refetchCommand() *cobra.Command {
	var names string
	cmd := &cobra.Command{
		Use: "refetch", Short: "Ask hosts for their vitals, software and certificates now", Args: args(cobra.NoArgs),
		Example: "  muster refetch --host C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted := splitComma(names)
			if len(wanted) == 0 {
				return usagef("--host is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			for _, name := range wanted {
				host, err := findHost(cmd.Context(), connection, name)
				if err != nil {
					return err
				}
				if err := connection.RefetchHost(cmd.Context(), host.ID); err != nil {
					return fmt.Errorf("host %q: %w", name, err)
				}
				fmt.Fprintf(c.Err, "%s is asked; look at it with: muster get host %s\n", printable(host.DisplayName), printable(name))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&names, "host", "", "comma list of serial numbers, UUIDs or host names (required)")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

func (c *cli) getSoftwareCommand() *cobra.Command {
	var name, query string
	cmd := &cobra.Command{
		Use: "software", Short: "List the software of all hosts, or of one", Args: args(cobra.NoArgs),
		Example: "  muster get software --host C02XK1ABJGH5\n  muster get software --query chrome -o csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if name != "" {
				return c.listHostSoftware(cmd.Context(), connection, name, query)
			}
			list := []apiv1.SoftwareVersion{}
			err = connection.AllSoftware(cmd.Context(), query, func(s apiv1.SoftwareVersion) error {
				list = append(list, s)
				return nil
			})
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(list))
			for _, s := range list {
				rows = append(rows, []string{s.Name, s.Version, s.Source, s.BundleIdentifier, strconv.Itoa(s.HostsCount)})
			}
			return c.show(listing{value: list, rows: rows, empty: "No software found.", columns: []string{"NAME", "VERSION", "SOURCE", "IDENTIFIER", "HOSTS"}})
		},
	}
	cmd.Flags().StringVar(&name, "host", "", "serial number, UUID or host name")
	cmd.Flags().StringVar(&query, "query", "", "part of the name or identifier")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

func (c *cli) listHostSoftware(ctx context.Context, connection *client.Client, name, query string) error {
	host, err := findHost(ctx, connection, name)
	if err != nil {
		return err
	}
	list, rows := []apiv1.HostSoftware{}, [][]string{}
	err = connection.AllHostSoftware(ctx, host.ID, func(s apiv1.HostSoftware) error {
		for _, v := range s.InstalledVersions {
			if !strings.Contains(strings.ToLower(s.Name+"\n"+v.BundleIdentifier), strings.ToLower(query)) {
				continue
			}
			list = append(list, s)
			rows = append(rows, []string{s.Name, v.Version, s.Source, v.BundleIdentifier})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.show(listing{value: list, rows: rows, empty: "No software found.", columns: []string{"NAME", "VERSION", "SOURCE", "IDENTIFIER"}})
}

func (c *cli) getCertificatesCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "certificates", Short: "List the certificates of a host", Args: args(cobra.NoArgs),
		Example: "  muster get certificates --host C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usagef("--host is required")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			host, err := findHost(cmd.Context(), connection, name)
			if err != nil {
				return err
			}
			list, rows := []apiv1.HostCertificate{}, [][]string{}
			err = connection.AllHostCertificates(cmd.Context(), host.ID, func(v apiv1.HostCertificate) error {
				list = append(list, v)
				rows = append(rows, []string{v.CommonName, c.whenOrNot(v.NotValidAfter), v.Issuer.CommonName, yesNo(v.Identity, "yes", "no"), v.SHA256})
				return nil
			})
			if err != nil {
				return err
			}
			return c.show(listing{value: list, rows: rows, empty: "No certificates found.", columns: []string{"NAME", "EXPIRES", "ISSUER", "IDENTITY", "SHA256"}})
		},
	}
	cmd.Flags().StringVar(&name, "host", "", "serial number, UUID or host name (required)")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

// vitalFacts are the facts of a host's detail that are known.
func (c *cli) vitalFacts(h *apiv1.HostDetail) [][]string {
	v := &h.Vitals
	facts := [][]string{{"Vitals", "of " + c.when(h.DetailUpdatedAt)}}
	if since := h.MDM.RefetchOutstandingSince; since != nil {
		text := "asked " + c.when(*since) + ", not all answered yet"
		if h.MDM.Silent {
			text += ": it is silent"
		}
		facts = append(facts, []string{"Refetch", text})
	}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, []string{name, value})
		}
	}
	add("Refused", v.RefetchFault)
	add("Model name", strings.TrimSpace(v.ModelName+" "+v.ModelNumber))
	if h.GigsTotalDiskSpace > 0 {
		add("Storage", fmt.Sprintf("%.1f of %.1f GB free (%.0f %%)", h.GigsDiskSpaceAvailable, h.GigsTotalDiskSpace, h.PercentDiskSpaceAvailable))
	}
	for _, b := range h.Batteries {
		text := b.Health
		if b.Level != nil {
			const percent = 100
			text = strings.TrimSpace(fmt.Sprintf("%.0f %% %s", *b.Level*percent, text))
		}
		add("Battery", text)
	}
	add("Wi-Fi", h.PrimaryMAC)
	add("Bluetooth", v.BluetoothMAC)
	add("Ethernet", v.EthernetMAC)
	add("IMEI", v.IMEI)
	add("Time zone", v.TimeZone)
	for _, f := range []struct {
		name string
		is   *bool
	}{
		{"Supervised", v.Supervised}, {"Lost mode", v.LostMode}, {"Activation lock", v.ActivationLock}, {"Passcode", v.PasscodePresent},
		{"Passcode compliant", v.PasscodeCompliant}, {"FileVault", v.FileVault}, {"Firewall", v.Firewall}, {"System integrity", v.SIP},
		{"Recovery lock", v.RecoveryLock},
	} {
		// A Mac is locked with a PIN, and has no Lost Mode to be in.
		if f.is != nil && (f.is != v.LostMode || h.Platform != "darwin") {
			add(f.name, yesNo(*f.is, "yes", "no"))
		}
	}
	add("Secure boot", v.SecureBoot)
	add("Pending update", deref(v.UpdateVersion))
	add("Update failure", deref(v.UpdateFailure))
	if len(h.Software) > 0 {
		add("Software", fmt.Sprintf("%d titles; list them with: muster get software --host %s", len(h.Software), h.HardwareSerial))
	}
	return facts
}
