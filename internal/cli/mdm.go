package cli

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/internal/kit/ids"
)

// maxPayload bounds a command's file, in bytes.
const maxPayload = 1 << 20

func (c *cli) mdmCommand() *cobra.Command {
	return group("mdm", "Send MDM commands to hosts: lock, unlock, wipe and any other", c.runCommandCommand(), c.unenrollCommand(),
		c.lockCommand(), c.unlockCommand(), c.wipeCommand(), c.clearPasscodeCommand(), c.locateCommand(), c.playSoundCommand(), c.cancelCommand(),
		c.unlockPINCommand(), c.recoveryLockCommand(), c.bypassCodeCommand(), c.archivedSecretsCommand())
}

func (c *cli) runCommandCommand() *cobra.Command {
	var hosts, payload string
	cmd := &cobra.Command{
		Use: "run-command", Aliases: []string{"run_command"}, Short: "Send a custom MDM command to hosts",
		Example: "  muster mdm run-command --hosts C02XK1ABJGH5,ada-mac --payload restart.plist",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := splitComma(hosts)
			if len(names) == 0 || payload == "" {
				return usagef("--hosts and --payload are required")
			}
			raw, err := readPayload(payload)
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			targets, err := c.enrolledHosts(cmd.Context(), connection, names)
			if err != nil {
				return err
			}
			out, err := connection.RunCommandByID(cmd.Context(), raw, targets)
			if err != nil {
				return err
			}
			return c.showSent(out)
		},
	}
	cmd.Flags().StringVar(&hosts, "hosts", "", "comma list of serial numbers, UUIDs or host names (required)")
	cmd.Flags().StringVar(&payload, "payload", "", "file of the command, a property list (required)")
	c.complete(cmd, "hosts", c.offerHosts)
	return cmd
}

func splitComma(text string) []string {
	var out []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// readPayload reads a command and gives it an identifier of its own, so that
// the same file can be sent again.
func readPayload(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(file, maxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(raw) > maxPayload {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxPayload)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	if bytes.HasPrefix(raw, []byte("bplist")) {
		return raw, nil // binary: the server reads it as it is
	}
	if err := wellFormed(raw); err != nil {
		return nil, fmt.Errorf("%s is not a property list: %w", path, err)
	}
	return withCommandUUID(raw, ids.UUID()), nil
}

func wellFormed(raw []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(raw))
	for elements := 0; ; elements++ {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			if elements == 0 {
				return errors.New("it holds no XML")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// withCommandUUID replaces the CommandUUID of an XML property list, or adds
// one at the end of the outermost dictionary.
func withCommandUUID(raw []byte, uuid string) []byte {
	present := regexp.MustCompile(`(<key>\s*CommandUUID\s*</key>\s*<string>)[^<]*(</string>)`)
	if present.Match(raw) {
		return present.ReplaceAll(raw, []byte("${1}"+uuid+"${2}"))
	}
	end := bytes.LastIndex(raw, []byte("</dict>"))
	if end < 0 {
		return raw // the server says what is wrong with it
	}
	var out bytes.Buffer
	out.Write(raw[:end])
	out.WriteString("<key>CommandUUID</key><string>" + uuid + "</string>")
	out.Write(raw[end:])
	return out.Bytes()
}

// enrolledHosts resolves names to UUIDs of enrolled hosts of one platform.
func (c *cli) enrolledHosts(ctx context.Context, connection *client.Client, names []string) ([]int64, error) {
	var ids []int64
	var off []string
	families := map[string]string{} // family to a host of it
	for i, name := range names {
		c.progress(i, len(names), "Looking up hosts")
		host, err := findHost(ctx, connection, name)
		if err != nil {
			return nil, err
		}
		if host.MDM.ConnectedToFleet == nil || !*host.MDM.ConnectedToFleet {
			off = append(off, name)
			continue
		}
		family := "apple"
		if host.Platform == "windows" {
			family = "windows"
		}
		families[family] = name
		ids = append(ids, host.ID)
	}
	c.progress(len(names), len(names), "Looking up hosts")
	if len(off) > 0 {
		return nil, fmt.Errorf("MDM is not on on %s; nothing was sent", strings.Join(off, ", "))
	}
	if len(families) > 1 {
		return nil, fmt.Errorf("a command is for one platform, but %s is Windows and %s is not; nothing was sent", families["windows"], families["apple"])
	}
	return ids, nil
}

// showSent prints the command and how to see what comes of it.
func (c *cli) showSent(out apiv1.RunCommandResponse) error {
	if len(out.FailedUUIDs) > 0 {
		fmt.Fprintf(c.Err, "Warning: these hosts could not be woken and run it when they check in: %s\n", strings.Join(out.FailedUUIDs, ", "))
	}
	rows := [][]string{{out.CommandUUID, out.RequestType, out.Platform}}
	return c.show(listing{value: out, columns: []string{"UUID", "TYPE", "PLATFORM"}, rows: rows, text: func(w io.Writer) {
		fmt.Fprintf(w, "Command UUID: %s\n\nHosts will run the command the next time they check in.\n\nCopy and run this command to see results:\n\nmuster get mdm-command-results --id=%s\n",
			out.CommandUUID, out.CommandUUID)
	}})
}

func (c *cli) unenrollCommand() *cobra.Command {
	var name string
	var yes bool
	cmd := &cobra.Command{
		Use: "unenroll", Short: "Turn MDM off on a host", Args: args(cobra.NoArgs),
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
			if err := c.confirm(yes, fmt.Sprintf("Turn MDM off on %s? It must be enrolled again to come back.", printable(host.DisplayName))); err != nil {
				return err
			}
			var held *client.HeldError
			if err := connection.UnenrollHost(cmd.Context(), host.ID); errors.As(err, &held) {
				fmt.Fprintf(c.Err, "%s.\n", printable(capitalized(held.Error())))
				return nil
			} else if err != nil {
				return err
			}
			fmt.Fprintf(c.Err, "MDM is off on %s.\n", printable(host.DisplayName))
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "host", "", "serial number, UUID or host name (required)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}
