package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"reflect"
	"slices"
	"strings"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

func (a *api) actionRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "~/hosts/{id}/lock", permission: actionsRun, id: "lockHost", bodiless: true, strict: true,
			summary: "Lock a host: a Mac with a PIN, an iPhone or iPad by Lost Mode", bind: handle(a.lockHost)},
		{method: http.MethodPost, path: "~/hosts/{id}/unlock", permission: actionsReveal, id: "unlockHost",
			summary: "Unlock a host; of a Mac it shows the PIN", bind: handle(a.unlockHost)},
		{method: http.MethodPost, path: "~/hosts/{id}/wipe", permission: actionsRun, id: "wipeHost", bodiless: true, strict: true,
			summary: "Erase a host", bodyBytes: wipeBytes, bind: handle(a.wipeHost)},
		{method: http.MethodPost, path: "~/mdm/hosts/{id}/lock", permission: actionsRun, id: "lockHostOld", bodiless: true, status: http.StatusNoContent, deprecated: true,
			summary: "Lock a host", bind: handle(a.lockHostOld)},
		{method: http.MethodPost, path: "~/mdm/hosts/{id}/unlock", permission: actionsReveal, id: "unlockHostOld", status: http.StatusNoContent, deprecated: true,
			summary: "Unlock a host", bind: handle(a.unlockHostOld)},
		{method: http.MethodPost, path: "~/mdm/hosts/{id}/wipe", permission: actionsRun, id: "wipeHostOld", bodiless: true, status: http.StatusNoContent, deprecated: true,
			summary: "Erase a host", bodyBytes: wipeBytes, bind: handle(a.wipeHostOld)},
		{method: http.MethodPost, path: "~/hosts/lock", permission: actionsRun, id: "lockHosts", strict: true, bodyBytes: hostsBytes,
			summary: "Lock several hosts, all or none", bind: handle(a.lockHosts)},
		{method: http.MethodPost, path: "~/hosts/wipe", permission: actionsRun, id: "wipeHosts", strict: true, bodyBytes: hostsBytes,
			summary: "Erase several hosts, all or none", bind: handle(a.wipeHosts)},
		{method: http.MethodPost, path: "~/hosts/{id}/clear_passcode", permission: actionsRun, id: "clearPasscode",
			summary: "Take the passcode off an iPhone or iPad", bind: handle(a.act(fleet.ActionClearPasscode))},
		{method: http.MethodPost, path: "~/hosts/{id}/locate", permission: actionsRun, id: "locateHost",
			summary: "Ask an iPhone or iPad in Lost Mode where it is", bind: handle(a.act(fleet.ActionLocate))},
		{method: http.MethodPost, path: "~/hosts/{id}/play_sound", permission: actionsRun, id: "playSound",
			summary: "Make an iPhone or iPad in Lost Mode ring", bind: handle(a.act(fleet.ActionPlaySound))},
		{method: http.MethodDelete, path: "~/hosts/{id}/commands/{command_uuid}", permission: actionsRun, id: "cancelCommand", status: http.StatusNoContent,
			summary: "Take back a command that the host has not fetched", bind: handle(a.cancelCommand)},
		{method: http.MethodGet, path: "~/hosts/{id}/unlock_pin", permission: actionsReveal, id: "getUnlockPIN",
			summary: "Show the PIN of a Mac's last lock or wipe", bind: handle(a.unlockPIN)},
		{method: http.MethodGet, path: "~/hosts/{id}/recovery_lock_password", permission: actionsReveal, id: "getRecoveryLockPassword",
			summary: "Show a Mac's recovery lock password, which is replaced an hour later", bind: handle(a.recoveryLock)},
		{method: http.MethodPost, path: "~/hosts/{id}/recovery_lock_password/rotate", permission: actionsRun, id: "rotateRecoveryLockPassword",
			status: http.StatusAccepted, summary: "Give a Mac a recovery lock password, or another one", bind: handle(a.act(fleet.ActionRecoveryLock))},
		{method: http.MethodGet, path: "~/hosts/{id}/activation_lock_bypass_code", permission: actionsReveal, id: "getBypassCode",
			summary: "Show the code that takes Activation Lock off", bind: handle(a.bypassCode)},
		{method: http.MethodPost, path: "~/hosts/{id}/activation_lock_bypass_code", permission: actionsRun, id: "fetchBypassCode", status: http.StatusAccepted,
			summary: "Ask the device for its bypass code, which it tells within 15 days of its supervision", bind: handle(a.act(fleet.ActionBypassCode))},
		{method: http.MethodGet, path: "~/hosts/archived_secrets", permission: actionsReveal, id: "listArchivedSecrets", strict: true,
			summary: "Show the PINs and recovery lock passwords of a device whose host was deleted or enrolled anew, kept for 180 days", bind: handle(a.archivedSecrets)},
		{method: http.MethodGet, path: "~/approvals", permission: approvalsRead, id: "listApprovals", strict: true,
			summary: "List requests that the brake held, newest first", bind: handle(a.listApprovals)},
		{method: http.MethodPost, path: "~/approvals/{uuid}/approve", permission: approvalsWrite, id: "approveRequest",
			summary: "Approve what somebody else asked for", bind: handle(a.decide(fleet.ActionDone))},
		{method: http.MethodPost, path: "~/approvals/{uuid}/deny", permission: approvalsWrite, id: "denyRequest",
			summary: "Deny a request", bind: handle(a.decide(fleet.ActionDenied))},
		{method: http.MethodPost, path: "~/approvals/{uuid}/undo", permission: actionsRun, id: "undoRequest",
			summary: "Take back one's own request; an admin may take back anybody's", bind: handle(a.decide(fleet.ActionUndone))},
	}
}

// wipeBytes bounds a wipe with two profiles in base64.
const wipeBytes = 1 << 20

// answer is a body with a status that depends on what happened.
type answer[T any] struct {
	Status int
	Body   T
}

func heldAnswer(r *fleet.ActionRequest) *answer[*apiv1.Held] {
	if r == nil {
		return nil
	}
	return &answer[*apiv1.Held]{Status: http.StatusAccepted, Body: &apiv1.Held{Approval: approvalOf(r)}}
}

func approvalOf(r *fleet.ActionRequest) *apiv1.Approval {
	if r == nil {
		return nil
	}
	out := apiv1.Approval{UUID: r.UUID, Action: r.Kind.String(), Status: r.Phase.String(), HostCount: max(r.Hosts, len(r.Targets)), Hosts: make([]apiv1.ApprovalHost, 0, len(r.Targets)),
		RequestedBy: r.Actor.Email, RequestedAt: r.CreatedAt.UTC(), DueAt: r.DueAt.UTC(), DecidedBy: r.DecidedBy.Email, DecidedAt: timeOrNull(r.DecidedAt),
		Detail: r.Detail}
	for _, t := range r.Targets {
		out.Hosts = append(out.Hosts, apiv1.ApprovalHost{ID: int64(t.ID), Name: t.Name, Serial: t.Serial})
	}
	return &out
}

func (a *api) do(ctx context.Context, ask fleet.ActionAsk) (*answer[apiv1.HostActionResponse], error) {
	r, err := a.actions.Do(ctx, actorOf(ctx), ask)
	if err != nil {
		return nil, err
	}
	out := &answer[apiv1.HostActionResponse]{Status: http.StatusOK, Body: apiv1.HostActionResponse{HostID: int64(ask.Hosts[0]), UnlockPIN: r.PIN,
		DeviceStatus: r.Status.String(), PendingAction: r.Pending.String(), CommandUUID: r.Command, Message: r.Message, Approval: approvalOf(r.Held)}}
	if r.Held != nil {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

// act is the handler of an action without options.
func (a *api) act(kind fleet.ActionKind) func(context.Context, *IDInput) (*answer[apiv1.HostActionResponse], error) {
	return func(ctx context.Context, in *IDInput) (*answer[apiv1.HostActionResponse], error) {
		out, err := a.do(ctx, oneHost(kind, in.ID))
		if err == nil && (kind == fleet.ActionRecoveryLock || kind == fleet.ActionBypassCode) {
			out.Status = http.StatusAccepted
		}
		return out, err
	}
}

func oneHost(kind fleet.ActionKind, id int64) fleet.ActionAsk {
	return fleet.ActionAsk{Kind: kind, Hosts: []fleet.HostID{fleet.HostID(id)}, Expected: -1}
}

type lockInput struct {
	IDInput
	ViewPIN bool `query:"view_pin" doc:"Answer with the PIN, which is recorded"`
	RawBody []byte
	Body    *apiv1.LockRequest
}

// mayReveal refuses a PIN to whoever may lock but not see what opens.
func (a *api) mayReveal(ctx context.Context, asked bool) error {
	if asked && !a.access.Can(viewerOf(ctx), string(actionsReveal)) {
		return fleet.Errorf(fleet.KindForbidden, "The role %s lacks the permission %s.", viewerOf(ctx).User.Role, actionsReveal)
	}
	return nil
}

func (a *api) lockHost(ctx context.Context, in *lockInput) (*answer[apiv1.HostActionResponse], error) {
	if err := a.mayReveal(ctx, in.ViewPIN); err != nil {
		return nil, err
	}
	if err := refuseUnknown[apiv1.LockRequest](in.RawBody); err != nil {
		return nil, err
	}
	ask := oneHost(fleet.ActionLock, in.ID)
	ask.ViewPIN = in.ViewPIN
	if in.Body != nil {
		ask.Options = lockOptions(*in.Body)
	}
	return a.do(ctx, ask)
}

// refuseUnknown refuses keys that the body does not have; there may be none.
func refuseUnknown[T any](raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	return refuseUnknownKeys(raw, reflect.TypeFor[T]())
}

func lockOptions(r apiv1.LockRequest) fleet.ActionOptions {
	return fleet.ActionOptions{Message: strings.TrimSpace(r.Message), PhoneNumber: strings.TrimSpace(r.PhoneNumber), Footnote: strings.TrimSpace(r.Footnote)}
}

func (a *api) unlockHost(ctx context.Context, in *IDInput) (*answer[apiv1.HostActionResponse], error) {
	return a.do(ctx, oneHost(fleet.ActionUnlock, in.ID))
}

type wipeInput struct {
	IDInput
	ViewPIN bool `query:"view_pin" doc:"Answer with the PIN that an older Mac asks for afterwards, which is recorded"`
	RawBody []byte
	Body    *apiv1.WipeRequest
}

func (a *api) wipeHost(ctx context.Context, in *wipeInput) (*answer[apiv1.HostActionResponse], error) {
	if err := a.mayReveal(ctx, in.ViewPIN); err != nil {
		return nil, err
	}
	if err := refuseUnknown[apiv1.WipeRequest](in.RawBody); err != nil {
		return nil, err
	}
	ask := oneHost(fleet.ActionWipe, in.ID)
	ask.ViewPIN = in.ViewPIN
	if in.Body != nil {
		var err error
		if ask.Options, err = wipeOptions(*in.Body); err != nil {
			return nil, err
		}
	}
	return a.do(ctx, ask)
}

func wipeOptions(r apiv1.WipeRequest) (o fleet.ActionOptions, err error) {
	w := r.Apple
	if w == nil {
		return o, nil
	}
	o.Behavior, o.PreserveDataPlan, o.DisallowProximitySetup = w.ObliterationBehavior, w.PreserveDataPlan, w.DisallowProximitySetup
	if s := w.ReturnToService; s != nil {
		o.ReturnToService = s.Enabled
		if o.WiFiProfile, err = base64Field("apple.return_to_service.wifi_profile", s.WiFiProfile); err != nil {
			return o, err
		}
		o.MDMProfile, err = base64Field("apple.return_to_service.mdm_profile", s.MDMProfile)
	}
	return o, err
}

func base64Field(name, text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fleet.FieldErrorf(fleet.KindBadRequest, name, "must be the base64 of a profile")
	}
	return data, nil
}

func (a *api) lockHostOld(ctx context.Context, in *lockInput) (*struct{}, error) {
	in.ViewPIN = false
	_, err := a.lockHost(ctx, in)
	return nil, err
}

func (a *api) unlockHostOld(ctx context.Context, in *IDInput) (*struct{}, error) {
	_, err := a.unlockHost(ctx, in)
	return nil, err
}

func (a *api) wipeHostOld(ctx context.Context, in *wipeInput) (*struct{}, error) {
	in.ViewPIN = false
	_, err := a.wipeHost(ctx, in)
	return nil, err
}

type bulkLockInput struct {
	RawBody []byte
	Body    apiv1.BulkLockRequest
}

func (a *api) lockHosts(ctx context.Context, in *bulkLockInput) (*answer[apiv1.BulkActionResponse], error) {
	if err := refuseUnknown[apiv1.BulkLockRequest](in.RawBody); err != nil {
		return nil, err
	}
	return a.doMany(ctx, fleet.ActionAsk{Kind: fleet.ActionLock, Hosts: hostIDs(in.Body.Hosts), Expected: in.Body.ExpectedCount,
		Options: lockOptions(in.Body.LockRequest)})
}

type bulkWipeInput struct {
	RawBody []byte
	Body    apiv1.BulkWipeRequest
}

func (a *api) wipeHosts(ctx context.Context, in *bulkWipeInput) (*answer[apiv1.BulkActionResponse], error) {
	if err := refuseUnknown[apiv1.BulkWipeRequest](in.RawBody); err != nil {
		return nil, err
	}
	options, err := wipeOptions(in.Body.WipeRequest)
	if err != nil {
		return nil, err
	}
	return a.doMany(ctx, fleet.ActionAsk{Kind: fleet.ActionWipe, Hosts: hostIDs(in.Body.Hosts), Expected: in.Body.ExpectedCount, Options: options})
}

func (a *api) doMany(ctx context.Context, ask fleet.ActionAsk) (*answer[apiv1.BulkActionResponse], error) {
	r, err := a.actions.Do(ctx, actorOf(ctx), ask)
	if err != nil {
		return nil, err
	}
	out := &answer[apiv1.BulkActionResponse]{Status: http.StatusOK, Body: apiv1.BulkActionResponse{HostCount: r.Hosts, Approval: approvalOf(r.Held)}}
	if r.Held != nil {
		out.Status, out.Body.Message = http.StatusAccepted, r.Message
	}
	return out, nil
}

type cancelInput struct {
	IDInput
	CommandUUID string `path:"command_uuid" maxLength:"255"`
}

func (a *api) cancelCommand(ctx context.Context, in *cancelInput) (*struct{}, error) {
	return nil, a.actions.Cancel(ctx, actorOf(ctx), fleet.HostID(in.ID), in.CommandUUID)
}

func (a *api) reveal(ctx context.Context, id int64, kind fleet.RevealKind) (apiv1.HostPassword, error) {
	r, err := a.actions.Reveal(ctx, actorOf(ctx), fleet.HostID(id), kind)
	return apiv1.HostPassword{Password: r.Value, UpdatedAt: timeOrNull(r.UpdatedAt)}, err
}

func (a *api) unlockPIN(ctx context.Context, in *IDInput) (*body[apiv1.UnlockPINResponse], error) {
	secret, err := a.reveal(ctx, in.ID, fleet.RevealPIN)
	return reply(apiv1.UnlockPINResponse{HostID: in.ID, UnlockPIN: secret}), err
}

func (a *api) recoveryLock(ctx context.Context, in *IDInput) (*body[apiv1.RecoveryLockResponse], error) {
	secret, err := a.reveal(ctx, in.ID, fleet.RevealRecoveryLock)
	return reply(apiv1.RecoveryLockResponse{HostID: in.ID, RecoveryLock: secret}), err
}

func (a *api) bypassCode(ctx context.Context, in *IDInput) (*body[apiv1.BypassCodeResponse], error) {
	secret, err := a.reveal(ctx, in.ID, fleet.RevealBypassCode)
	return reply(apiv1.BypassCodeResponse{HostID: in.ID, BypassCode: secret}), err
}

type archivedInput struct {
	SerialNumber string `query:"serial_number" required:"true" minLength:"1" maxLength:"100" doc:"Of the device"`
}

func (a *api) archivedSecrets(ctx context.Context, in *archivedInput) (*body[apiv1.ArchivedSecretsResponse], error) {
	list, err := a.actions.Archived(ctx, actorOf(ctx), in.SerialNumber)
	if err != nil {
		return nil, err
	}
	out := apiv1.ArchivedSecretsResponse{ArchivedSecrets: make([]apiv1.ArchivedSecret, 0, len(list))}
	for i := range list {
		v := &list[i]
		out.ArchivedSecrets = append(out.ArchivedSecrets, apiv1.ArchivedSecret{Kind: v.Kind.String(), Value: v.Value, SerialNumber: v.Serial,
			UUID: v.DeviceUUID, CommandUUID: v.CommandUUID, ArchivedAt: v.ArchivedAt.UTC()})
	}
	return reply(out), nil
}

type approvalsInput struct {
	Page    int    `query:"page" minimum:"0" maximum:"1000000"`
	PerPage int    `query:"per_page" minimum:"0"`
	Status  string `query:"status" enum:"pending,all" doc:"pending (unless given): those that wait"`
}

// maxApprovals bounds a page of requests, each of which may have many hosts.
const maxApprovals = 100

func (a *api) listApprovals(ctx context.Context, in *approvalsInput) (*body[apiv1.ApprovalsResponse], error) {
	phases := []fleet.ActionPhase{fleet.ActionWaiting, fleet.ActionDelayed, fleet.ActionRunning}
	if in.Status == "all" {
		phases = nil
	}
	size := in.PerPage
	if size == 0 || size > maxApprovals {
		size = maxApprovals
	}
	list, meta, err := a.actions.Requests(ctx, phases, fleet.Page{Number: in.Page, Size: size})
	if err != nil {
		return nil, err
	}
	out := apiv1.ApprovalsResponse{Approvals: make([]apiv1.Approval, 0, len(list)), Meta: toMeta(meta)}
	for i := range list {
		out.Approvals = append(out.Approvals, *approvalOf(&list[i]))
	}
	return reply(out), nil
}

type approvalInput struct {
	UUID string `path:"uuid" maxLength:"64"`
}

// decide is the handler of a decision about a request.
func (a *api) decide(what fleet.ActionPhase) func(context.Context, *approvalInput) (*body[apiv1.ApprovalResponse], error) {
	return func(ctx context.Context, in *approvalInput) (*body[apiv1.ApprovalResponse], error) {
		r, err := a.actions.Decide(ctx, viewerOf(ctx), in.UUID, what)
		if err != nil {
			return nil, err
		}
		return reply(apiv1.ApprovalResponse{Approval: *approvalOf(&r)}), nil
	}
}

func toBrake(p fleet.BrakePolicy) apiv1.Brake {
	return apiv1.Brake{WipesPerHour: p.Limit(fleet.ActionWipe), LocksPerHour: p.Limit(fleet.ActionLock), UnenrollsPerHour: p.Limit(fleet.ActionUnenroll),
		DeletesPerHour: p.Limit(fleet.ActionDelete), ApprovalFor: actionNames(p.ApprovalFor), DelayFor: actionNames(p.DelayFor), DelayMinutes: p.DelayMinutes}
}

func actionNames(kinds []fleet.ActionKind) []string {
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k.String())
	}
	return out
}

func patchBrake(to *fleet.BrakePolicy, p *apiv1.BrakePatch) error {
	if p == nil {
		return nil
	}
	for _, limit := range []struct {
		from *int
		to   *fleet.BrakeLimit
	}{{p.WipesPerHour, &to.WipesPerHour}, {p.LocksPerHour, &to.LocksPerHour}, {p.UnenrollsPerHour, &to.UnenrollsPerHour}, {p.DeletesPerHour, &to.DeletesPerHour}} {
		if limit.from != nil {
			*limit.to = fleet.BrakeLimit(*limit.from)
		}
	}
	if p.DelayMinutes != nil {
		to.DelayMinutes = *p.DelayMinutes
	}
	var err error
	if p.ApprovalFor != nil {
		if to.ApprovalFor, err = brakedKinds("mdm.brake.approval_for", *p.ApprovalFor); err != nil {
			return err
		}
	}
	if p.DelayFor != nil {
		if to.DelayFor, err = brakedKinds("mdm.brake.delay_for", *p.DelayFor); err != nil {
			return err
		}
	}
	if len(to.DelayFor) > 0 && to.DelayMinutes == 0 {
		return fleet.FieldErrorf(fleet.KindInvalid, "mdm.brake.delay_minutes", "must say how many minutes a %s waits (--delay-minutes): after 0 minutes nothing is delayed", to.DelayFor[0])
	}
	return nil
}

// mayBrake refuses another brake to whoever may change the configuration and
// not the brake. What comes to the same is none: a repository has all of it.
func (a *api) mayBrake(ctx context.Context, before fleet.BrakePolicy, s *fleet.Settings) error {
	if a.access.Can(viewerOf(ctx), string(brakeWrite)) {
		return nil
	}
	if !sameBrake(before, s.Brake) {
		return fleet.FieldErrorf(fleet.KindForbidden, "mdm.brake", "would change, which takes the permission %s, and the role %s lacks it:"+
			" an admin changes the brake, by muster brake set", brakeWrite, viewerOf(ctx).User.Role)
	}
	s.Brake = before
	return nil
}

func sameBrake(a, b fleet.BrakePolicy) bool {
	x, y := toBrake(a), toBrake(b)
	for _, names := range [][]string{x.ApprovalFor, x.DelayFor, y.ApprovalFor, y.DelayFor} {
		slices.Sort(names)
	}
	return reflect.DeepEqual(x, y)
}

func brakedKinds(field string, names []string) ([]fleet.ActionKind, error) {
	var out []fleet.ActionKind
	for _, name := range names {
		at := slices.IndexFunc(fleet.BrakedActions(), func(k fleet.ActionKind) bool { return k.String() == name })
		if at < 0 {
			return nil, fleet.FieldErrorf(fleet.KindInvalid, field, "has %.40q, which is none of lock, wipe, unenroll, delete", name)
		}
		if k := fleet.BrakedActions()[at]; !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out, nil
}
