package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// HeldError says that nothing was done yet: another admin must approve it, or
// it waits for its time.
type HeldError struct{ Approval apiv1.Approval }

func (e *HeldError) Error() string {
	if e.Approval.Status == "waiting" {
		return fmt.Sprintf("nothing was done yet: another admin must approve request %s before %s", e.Approval.UUID, e.Approval.DueAt.Format(time.RFC3339))
	}
	return fmt.Sprintf("nothing was done yet: it is done at %s, and request %s can be undone until then", e.Approval.DueAt.Format(time.RFC3339), e.Approval.UUID)
}

// doOrHeld is a request that the brake may hold.
func (c *Client) doOrHeld(ctx context.Context, r request) error {
	var out apiv1.Held
	r.into = &out
	if err := c.do(ctx, r); err != nil {
		return err
	}
	if out.Approval != nil {
		return &HeldError{*out.Approval}
	}
	return nil
}

func (c *Client) act(ctx context.Context, id int64, what string, viewPIN bool, body any) (apiv1.HostActionResponse, error) {
	var out apiv1.HostActionResponse
	v := url.Values{}
	if viewPIN {
		v.Set("view_pin", "true")
	}
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(id) + "/" + what, query: v, body: body, into: &out})
	return out, err
}

// LockHost locks a host. viewPIN answers with the PIN of a Mac, which is
// recorded.
func (c *Client) LockHost(ctx context.Context, id int64, r apiv1.LockRequest, viewPIN bool) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "lock", viewPIN, r)
}

// UnlockHost unlocks a host; of a Mac it shows the PIN, which is recorded.
func (c *Client) UnlockHost(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "unlock", false, nil)
}

// WipeHost erases a host.
func (c *Client) WipeHost(ctx context.Context, id int64, r apiv1.WipeRequest) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "wipe", false, r)
}

// ClearPasscode takes the passcode off an iPhone or iPad.
func (c *Client) ClearPasscode(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "clear_passcode", false, nil)
}

// LocateHost asks a device in Lost Mode where it is.
func (c *Client) LocateHost(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "locate", false, nil)
}

// PlaySound makes a device in Lost Mode ring.
func (c *Client) PlaySound(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "play_sound", false, nil)
}

// LockHosts and WipeHosts are for several hosts, all or none.
func (c *Client) LockHosts(ctx context.Context, r apiv1.BulkLockRequest) (apiv1.BulkActionResponse, error) {
	return c.actOnMany(ctx, "lock", r)
}

// WipeHosts erases several hosts, all or none.
func (c *Client) WipeHosts(ctx context.Context, r apiv1.BulkWipeRequest) (apiv1.BulkActionResponse, error) {
	return c.actOnMany(ctx, "wipe", r)
}

func (c *Client) actOnMany(ctx context.Context, what string, body any) (apiv1.BulkActionResponse, error) {
	var out apiv1.BulkActionResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + what, body: body, into: &out})
	return out, err
}

// CancelCommand takes back a command that the host has not fetched.
func (c *Client) CancelCommand(ctx context.Context, id int64, commandUUID string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: prefix + "/hosts/" + itoa(id) + "/commands/" + url.PathEscape(commandUUID)})
}

// secret reads what is recorded when it is read: never twice.
func (c *Client) secret(ctx context.Context, id int64, what string, into any) error {
	return c.do(ctx, request{method: http.MethodGet, path: prefix + "/hosts/" + itoa(id) + "/" + what, into: into, once: true})
}

// UnlockPIN shows the PIN of a Mac's last lock or wipe.
func (c *Client) UnlockPIN(ctx context.Context, id int64) (apiv1.HostPassword, error) {
	var out apiv1.UnlockPINResponse
	err := c.secret(ctx, id, "unlock_pin", &out)
	return out.UnlockPIN, err
}

// RecoveryLockPassword shows a Mac's recovery lock password.
func (c *Client) RecoveryLockPassword(ctx context.Context, id int64) (apiv1.HostPassword, error) {
	var out apiv1.RecoveryLockResponse
	err := c.secret(ctx, id, "recovery_lock_password", &out)
	return out.RecoveryLock, err
}

// ArchivedSecrets shows what opens a device whose host was deleted or enrolled
// anew.
func (c *Client) ArchivedSecrets(ctx context.Context, serial string) ([]apiv1.ArchivedSecret, error) {
	var out apiv1.ArchivedSecretsResponse
	err := c.do(ctx, request{method: http.MethodGet, path: prefix + "/hosts/archived_secrets", query: url.Values{"serial_number": {serial}}, into: &out, once: true})
	return out.ArchivedSecrets, err
}

// RotateRecoveryLock gives a Mac another recovery lock password.
func (c *Client) RotateRecoveryLock(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "recovery_lock_password/rotate", false, nil)
}

// BypassCode shows the code that takes Activation Lock off.
func (c *Client) BypassCode(ctx context.Context, id int64) (apiv1.HostPassword, error) {
	var out apiv1.BypassCodeResponse
	err := c.secret(ctx, id, "activation_lock_bypass_code", &out)
	return out.BypassCode, err
}

// FetchBypassCode asks the device for its bypass code.
func (c *Client) FetchBypassCode(ctx context.Context, id int64) (apiv1.HostActionResponse, error) {
	return c.act(ctx, id, "activation_lock_bypass_code", false, nil)
}

// Approvals is one page of the requests that the brake held, newest first:
// those that wait, or all.
func (c *Client) Approvals(ctx context.Context, all bool, page int) (apiv1.ApprovalsResponse, error) {
	v := url.Values{"page": {itoa(int64(page))}}
	if all {
		v.Set("status", "all")
	}
	var out apiv1.ApprovalsResponse
	err := c.get(ctx, prefix+"/approvals", v, &out)
	return out, err
}

// DecideApproval approves, denies or undoes a request.
func (c *Client) DecideApproval(ctx context.Context, uuid, decision string) (apiv1.Approval, error) {
	var out apiv1.ApprovalResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/approvals/" + url.PathEscape(uuid) + "/" + decision, into: &out})
	return out.Approval, err
}
