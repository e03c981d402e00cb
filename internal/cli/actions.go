package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
)

// deviceState is what was made of a device and what is to be.
func deviceState(m apiv1.HostMDM) string {
	state := m.DeviceStatus
	if m.PendingAction != "" {
		state += ", " + m.PendingAction + " pending"
	}
	if m.ActionError != "" {
		state += " (" + m.ActionError + ")"
	}
	return state
}

func capitalized(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// hostAction is a command about one host: what it does once the host is found.
func (c *cli) hostAction(use, short string, run func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args(cobra.NoArgs),
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
			return run(cmd.Context(), connection, host)
		},
	}
	cmd.Flags().StringVar(&name, "host", "", "serial number, UUID or host name (required)")
	c.complete(cmd, "host", c.offerHosts)
	return cmd
}

// confirmTyped has somebody type what is at stake.
func (c *cli) confirmTyped(yes bool, question, word string) error {
	if yes {
		return nil
	}
	if !c.Terminal {
		return usagef("%s Add --yes to do it without a terminal", question)
	}
	answer, err := c.ask(fmt.Sprintf("%s Type %s to go on: ", question, printable(word)))
	if err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(answer), word) {
		return errors.New("that is something else: nothing was changed")
	}
	return nil
}

// wordOf is what somebody types to confirm what happens to a host.
func wordOf(h apiv1.HostDetail) string {
	for _, word := range []string{h.HardwareSerial, h.UUID} {
		if word != "" {
			return word
		}
	}
	return strconv.FormatInt(h.ID, 10)
}

// showAction prints what came of an action.
func (c *cli) showAction(host apiv1.HostDetail, out apiv1.HostActionResponse) error {
	facts := [][]string{{"Host", host.DisplayName}, {"Device", deviceState(apiv1.HostMDM{DeviceStatus: out.DeviceStatus, PendingAction: out.PendingAction})}}
	if out.UnlockPIN != "" {
		facts = append(facts, []string{"PIN", out.UnlockPIN})
	}
	if out.CommandUUID != "" {
		facts = append(facts, []string{"Command", out.CommandUUID})
	}
	if out.Approval != nil {
		facts = [][]string{{"Host", host.DisplayName}, {"Request", out.Approval.UUID}}
	}
	return c.show(listing{value: out, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) {
		writeFacts(w, facts)
		if out.Message != "" {
			fmt.Fprintf(c.Err, "%s\n", printable(out.Message))
		}
	}})
}

// showBulk prints what came of an action on several hosts.
func (c *cli) showBulk(out apiv1.BulkActionResponse) error {
	facts := [][]string{{"Hosts", strconv.Itoa(out.HostCount)}}
	if out.Approval != nil {
		facts = append(facts, []string{"Request", out.Approval.UUID})
	}
	return c.show(listing{value: out, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) {
		writeFacts(w, facts)
		if out.Message != "" {
			fmt.Fprintf(c.Err, "%s\n", printable(out.Message))
		}
	}})
}

// victims are the hosts of a lock or wipe: one, or several with their count.
type victims struct {
	host, hosts string
	count       int
	yes         bool
}

func (c *cli) victimFlags(cmd *cobra.Command, v *victims) {
	f := cmd.Flags()
	f.StringVar(&v.host, "host", "", "serial number, UUID or host name")
	f.StringVar(&v.hosts, "hosts", "", "comma list of several; all or none of them")
	f.IntVar(&v.count, "count", 0, "with --hosts: how many they are")
	f.BoolVar(&v.yes, "yes", false, "do not ask")
	c.complete(cmd, "host", c.offerHosts)
	c.complete(cmd, "hosts", c.offerHosts)
}

// find looks the hosts up and has them confirmed.
func (c *cli) find(ctx context.Context, connection *client.Client, v victims, doing string) ([]apiv1.HostDetail, error) {
	names := splitComma(v.hosts)
	if v.host != "" {
		names = append(names, v.host)
	}
	switch {
	case (v.host == "") == (v.hosts == "") || len(names) == 0:
		return nil, usagef("give --host, or --hosts with --count")
	case v.hosts != "" && v.count != len(names):
		return nil, usagef("--hosts names %d hosts and --count is %d: nothing was done", len(names), v.count)
	}
	hosts := make([]apiv1.HostDetail, 0, len(names))
	for i, name := range names {
		c.progress(i, len(names), "Looking up hosts")
		h, err := findHost(ctx, connection, name)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	c.progress(len(names), len(names), "Looking up hosts")
	if v.hosts == "" {
		h := hosts[0]
		return hosts, c.confirmTyped(v.yes, fmt.Sprintf("%s %s (%s, %s)?", doing, printable(h.DisplayName), h.HardwareSerial, h.Platform), wordOf(h))
	}
	return hosts, c.confirmTyped(v.yes, fmt.Sprintf("%s %d hosts?", doing, len(hosts)), strconv.Itoa(len(hosts)))
}

func idsOf(hosts []apiv1.HostDetail) []int64 {
	out := make([]int64, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, h.ID)
	}
	return out
}

func (c *cli) lockCommand() *cobra.Command {
	var v victims
	var r apiv1.LockRequest
	var viewPIN bool
	cmd := &cobra.Command{
		Use: "lock", Short: "Lock a Mac with a PIN, or put an iPhone or iPad into Lost Mode", Args: args(cobra.NoArgs),
		Example: "  muster mdm lock --host C02XK1ABJGH5\n  muster mdm lock --host ada-phone --message Lost --phone +49301234",
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			hosts, err := c.find(cmd.Context(), connection, v, "Lock")
			if err != nil {
				return err
			}
			if v.hosts != "" {
				out, err := connection.LockHosts(cmd.Context(), apiv1.BulkLockRequest{Hosts: idsOf(hosts), ExpectedCount: v.count, LockRequest: r})
				if err != nil {
					return err
				}
				return c.showBulk(out)
			}
			out, err := connection.LockHost(cmd.Context(), hosts[0].ID, r, viewPIN)
			if err != nil {
				return err
			}
			return c.showAction(hosts[0], out)
		},
	}
	c.victimFlags(cmd, &v)
	cmd.Flags().BoolVar(&viewPIN, "view-pin", false, "show the PIN, which is recorded")
	cmd.Flags().StringVar(&r.Message, "message", "", "shown on the locked device")
	cmd.Flags().StringVar(&r.PhoneNumber, "phone", "", "shown on the locked device")
	cmd.Flags().StringVar(&r.Footnote, "footnote", "", "shown on a lost iPhone or iPad")
	return cmd
}

func (c *cli) wipeCommand() *cobra.Command {
	var v victims
	var apple apiv1.AppleWipe
	var back bool
	var wifi string
	cmd := &cobra.Command{
		Use: "wipe", Short: "Erase a device", Args: args(cobra.NoArgs),
		Example: "  muster mdm wipe --host C02XK1ABJGH5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := wipeRequest(apple, back, wifi)
			if err != nil {
				return err
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			hosts, err := c.find(cmd.Context(), connection, v, "Erase everything on")
			if err != nil {
				return err
			}
			if v.hosts != "" {
				out, err := connection.WipeHosts(cmd.Context(), apiv1.BulkWipeRequest{Hosts: idsOf(hosts), ExpectedCount: v.count, WipeRequest: r})
				if err != nil {
					return err
				}
				return c.showBulk(out)
			}
			out, err := connection.WipeHost(cmd.Context(), hosts[0].ID, r)
			if err != nil {
				return err
			}
			return c.showAction(hosts[0], out)
		},
	}
	c.victimFlags(cmd, &v)
	f := cmd.Flags()
	f.StringVar(&apple.ObliterationBehavior, "behavior", "", "of a Mac that cannot erase itself by resetting: Default, DoNotObliterate, ObliterateWithWarning or Always")
	f.BoolVar(&apple.PreserveDataPlan, "preserve-data-plan", false, "keep the eSIM of an iPhone or iPad")
	f.BoolVar(&apple.DisallowProximitySetup, "disallow-proximity-setup", false, "no setup from a device nearby")
	f.BoolVar(&back, "return-to-service", false, "the iPhone or iPad sets itself up again")
	f.StringVar(&wifi, "wifi-profile", "", "with --return-to-service: file of the configuration profile of its network")
	return cmd
}

func wipeRequest(apple apiv1.AppleWipe, back bool, wifi string) (apiv1.WipeRequest, error) {
	if wifi != "" && !back {
		return apiv1.WipeRequest{}, usagef("--wifi-profile is of use with --return-to-service only")
	}
	if back {
		apple.ReturnToService = &apiv1.ReturnToService{Enabled: true}
	}
	if wifi != "" {
		data, err := os.ReadFile(wifi)
		if err != nil {
			return apiv1.WipeRequest{}, err
		}
		if len(data) == 0 {
			return apiv1.WipeRequest{}, usagef("--wifi-profile: %s is empty", wifi)
		}
		apple.ReturnToService.WiFiProfile = base64.StdEncoding.EncodeToString(data)
	}
	return apiv1.WipeRequest{Apple: &apple}, nil
}

func (c *cli) unlockCommand() *cobra.Command {
	return c.hostAction("unlock", "Unlock a host; of a Mac it shows the PIN, which is recorded", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		out, err := connection.UnlockHost(ctx, host.ID)
		if err != nil {
			return err
		}
		return c.showAction(host, out)
	})
}

func (c *cli) clearPasscodeCommand() *cobra.Command {
	return c.simpleAction("clear-passcode", "Take the passcode off an iPhone or iPad", (*client.Client).ClearPasscode)
}

func (c *cli) locateCommand() *cobra.Command {
	return c.simpleAction("locate", "Ask an iPhone or iPad in Lost Mode where it is", (*client.Client).LocateHost)
}

func (c *cli) playSoundCommand() *cobra.Command {
	return c.simpleAction("play-sound", "Make an iPhone or iPad in Lost Mode ring", (*client.Client).PlaySound)
}

// simpleAction is an action without options that asks for a yes.
func (c *cli) simpleAction(use, short string, do func(*client.Client, context.Context, int64) (apiv1.HostActionResponse, error)) *cobra.Command {
	var yes bool
	cmd := c.hostAction(use, short, func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		if err := c.confirm(yes, fmt.Sprintf("%s: %s?", short, printable(host.DisplayName))); err != nil {
			return err
		}
		out, err := do(connection, ctx, host.ID)
		if err != nil {
			return err
		}
		return c.showAction(host, out)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) cancelCommand() *cobra.Command {
	var uuid string
	cmd := c.hostAction("cancel", "Take back a command that the host has not fetched", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		if uuid == "" {
			return usagef("--command is required")
		}
		if err := connection.CancelCommand(ctx, host.ID, uuid); err != nil {
			return err
		}
		fmt.Fprintf(c.Err, "Command %s was taken back from %s.\n", uuid, printable(host.DisplayName))
		return nil
	})
	cmd.Flags().StringVar(&uuid, "command", "", "UUID of the command (required)")
	return cmd
}

// showSecret prints a secret of a host.
func (c *cli) showSecret(what string, secret apiv1.HostPassword) error {
	facts := [][]string{{what, secret.Password}, {"Since", c.whenOrNot(secret.UpdatedAt)}}
	return c.show(listing{value: secret, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
}

func (c *cli) unlockPINCommand() *cobra.Command {
	return c.hostAction("unlock-pin", "Show the PIN of a Mac's last lock or wipe, which is recorded", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		secret, err := connection.UnlockPIN(ctx, host.ID)
		if err != nil {
			return err
		}
		return c.showSecret("PIN", secret)
	})
}

func (c *cli) recoveryLockCommand() *cobra.Command {
	var rotate bool
	cmd := c.hostAction("recovery-lock", "Show a Mac's recovery lock password, which is recorded, or set another", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		if rotate {
			out, err := connection.RotateRecoveryLock(ctx, host.ID)
			if err != nil {
				return err
			}
			return c.showAction(host, out)
		}
		secret, err := connection.RecoveryLockPassword(ctx, host.ID)
		if err != nil {
			return err
		}
		return c.showSecret("Password", secret)
	})
	cmd.Flags().BoolVar(&rotate, "rotate", false, "set a new password, also the first one")
	return cmd
}

func (c *cli) bypassCodeCommand() *cobra.Command {
	var fetch bool
	cmd := c.hostAction("bypass-code", "Show the code that takes Activation Lock off, which is recorded, or ask the device for it", func(ctx context.Context, connection *client.Client, host apiv1.HostDetail) error {
		if fetch {
			out, err := connection.FetchBypassCode(ctx, host.ID)
			if err != nil {
				return err
			}
			return c.showAction(host, out)
		}
		secret, err := connection.BypassCode(ctx, host.ID)
		if err != nil {
			return err
		}
		return c.showSecret("Code", secret)
	})
	cmd.Flags().BoolVar(&fetch, "fetch", false, "ask the device, which tells within 15 days of its supervision")
	return cmd
}

func (c *cli) approvalsCommand() *cobra.Command {
	return group("approvals", "Requests that wait for another admin or for their time", c.listApprovalsCommand(),
		c.decideCommand("approve", "Approve what somebody else asked for"),
		c.decideCommand("deny", "Deny what somebody else asked for"),
		c.decideCommand("undo", "Take back what you asked for"))
}

func (c *cli) listApprovalsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List requests, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.Approvals(cmd.Context(), all, 0)
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(out.Approvals))
			for _, a := range out.Approvals {
				rows = append(rows, []string{a.UUID, a.Action, a.Status, strconv.Itoa(a.HostCount), hostNames(a), a.RequestedBy, c.when(a.DueAt)})
			}
			return c.show(listing{value: out, rows: rows, empty: "Nothing waits.",
				columns: []string{"REQUEST", "ACTION", "STATUS", "HOSTS", "NAMES", "ASKED BY", "DUE"}})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that are decided")
	return cmd
}

// hostNames are the first hosts of a request.
func hostNames(a apiv1.Approval) string {
	const most = 3
	var names []string
	for _, h := range a.Hosts[:min(len(a.Hosts), most)] {
		names = append(names, h.Name)
	}
	if len(a.Hosts) > most {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

func (c *cli) decideCommand(what, short string) *cobra.Command {
	return &cobra.Command{
		Use: what + " REQUEST", Short: short, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			out, err := connection.DecideApproval(cmd.Context(), given[0], what)
			if err != nil {
				return err
			}
			facts := [][]string{{"Request", out.UUID}, {"Action", out.Action}, {"Hosts", hostNames(out)}, {"Status", out.Status}}
			if out.Detail != "" {
				facts = append(facts, []string{"Detail", out.Detail})
			}
			err = c.show(listing{value: out, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
			if err == nil && out.Status == "failed" {
				err = fmt.Errorf("request %s was approved, and could not be carried out: %s", out.UUID, out.Detail)
			}
			return err
		},
	}
}

func (c *cli) brakeCommand() *cobra.Command {
	return group("brake", "Limits of what one person can do to hosts", c.showBrakeCommand(), c.setBrakeCommand())
}

func (c *cli) showBrakeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the limits", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			config, err := connection.Config(cmd.Context())
			if err != nil {
				return err
			}
			return c.showBrake(config.MDM.Brake)
		},
	}
}

func (c *cli) showBrake(b apiv1.Brake) error {
	limit := func(n int) string {
		if n < 0 {
			return "no limit"
		}
		return strconv.Itoa(n)
	}
	some := func(names []string) string {
		if len(names) == 0 {
			return "nothing"
		}
		return strings.Join(names, ", ")
	}
	facts := [][]string{
		{"Wipes an hour and person", limit(b.WipesPerHour)}, {"Locks", limit(b.LocksPerHour)}, {"Unenrollments", limit(b.UnenrollsPerHour)},
		{"Deletions", limit(b.DeletesPerHour)}, {"A second admin approves", some(b.ApprovalFor)},
		{fmt.Sprintf("Waits %d minutes", b.DelayMinutes), some(b.DelayFor)},
	}
	return c.show(listing{value: b, columns: []string{"FACT", "VALUE"}, rows: facts, text: func(w io.Writer) { writeFacts(w, facts) }})
}

func (c *cli) setBrakeCommand() *cobra.Command {
	var limits [4]int
	var minutes int
	var approval, delay string
	cmd := &cobra.Command{
		Use: "set", Short: "Change limits; what is not named stays", Args: args(cobra.NoArgs),
		Example: "  muster brake set --wipes-per-hour 5 --approval-for wipe,unenroll\n  muster brake set --delay-for delete --delay-minutes 15",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var patch apiv1.BrakePatch
			given := cmd.Flags().Changed
			for i, flag := range brakeFlags() {
				if given(flag) {
					*[]**int{&patch.WipesPerHour, &patch.LocksPerHour, &patch.UnenrollsPerHour, &patch.DeletesPerHour}[i] = &limits[i]
				}
			}
			lists := map[string]**[]string{"approval-for": &patch.ApprovalFor, "delay-for": &patch.DelayFor}
			for flag, text := range map[string]string{"approval-for": approval, "delay-for": delay} {
				if given(flag) {
					list := append([]string{}, splitComma(text)...)
					*lists[flag] = &list
				}
			}
			if given("delay-minutes") {
				patch.DelayMinutes = &minutes
			}
			if patch == (apiv1.BrakePatch{}) {
				return usagef("name what is to change; see muster brake set --help")
			}
			connection, err := c.connect()
			if err != nil {
				return err
			}
			config, err := connection.ModifyConfig(cmd.Context(), apiv1.ConfigPatch{MDM: &apiv1.MDMConfigPatch{Brake: &patch}}, false)
			if err != nil {
				return err
			}
			return c.showBrake(config.MDM.Brake)
		},
	}
	f := cmd.Flags()
	for i, flag := range brakeFlags() {
		what, _, _ := strings.Cut(flag, "-")
		f.IntVar(&limits[i], flag, 0, "hosts an hour and person ("+what+"); 0: the default, -1: any number")
	}
	f.StringVar(&approval, "approval-for", "", "comma list of lock, wipe, unenroll, delete that another admin approves; '' for none")
	f.StringVar(&delay, "delay-for", "", "comma list of those that wait and can be undone; '' for none")
	f.IntVar(&minutes, "delay-minutes", 0, "how long they wait")
	return cmd
}

func brakeFlags() [4]string {
	return [4]string{"wipes-per-hour", "locks-per-hour", "unenrolls-per-hour", "deletes-per-hour"}
}
