package httpapi

import (
	"math"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/internal/fleet"
)

// When a host counts as online, missing and new. Enrolled devices are asked
// every hour, so one that is reachable was heard of within it.
const (
	onlineWithin = 65 * time.Minute
	missingAfter = 30 * 24 * time.Hour
	newWithin    = 24 * time.Hour
)

// mdmName is what clients compare with to see that a host is managed by the
// server they talk to.
const mdmName = "Fleet"

// hostStatus derives the status from the last contact.
func hostStatus(h *fleet.Host, now time.Time) string {
	switch {
	case h.SeenAt.IsZero() && now.Sub(h.CreatedAt) < newWithin:
		return "new"
	case h.SeenAt.IsZero():
		return "offline"
	case now.Sub(h.SeenAt) < onlineWithin:
		return "online"
	case now.Sub(h.SeenAt) < missingAfter:
		return "offline"
	}
	return "mia"
}

// timeOrNever is the time that clients take for "not yet".
func timeOrNever(t time.Time) time.Time {
	if t.IsZero() {
		return apiv1.Never()
	}
	return t.UTC()
}

func textOrNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func toHost(h *fleet.Host, now time.Time) apiv1.Host {
	out := apiv1.Host{
		ID: int64(h.ID), CreatedAt: h.CreatedAt.UTC(), UpdatedAt: h.UpdatedAt.UTC(),
		DetailUpdatedAt: timeOrNever(h.DetailUpdatedAt), LabelUpdatedAt: timeOrNever(h.LabelUpdatedAt),
		PolicyUpdatedAt: apiv1.Never(), LastEnrolledAt: timeOrNever(h.LastEnrolledAt),
		SeenTime: timeOrNever(h.SeenAt), LastRestartedAt: apiv1.Never(), RefetchRequested: !h.RefetchAt.IsZero(),
		Hostname: h.Hostname, ComputerName: h.ComputerName, DisplayName: h.DisplayName(), DisplayText: h.DisplayName(),
		UUID: h.UUID, Platform: string(h.Platform), PlatformLike: string(h.Platform), OSVersion: h.OSVersion, Build: h.Build,
		HardwareVendor: h.HardwareVendor, HardwareModel: h.HardwareModel, HardwareSerial: h.HardwareSerial, PrimaryMAC: h.PrimaryMAC,
		Status: hostStatus(h, now), MDM: toHostMDM(h, now),
	}
	if h.TeamID != 0 {
		id := int64(h.TeamID)
		out.TeamID = &id
	}
	if h.DiskTotalGB > 0 {
		out.GigsTotalDiskSpace, out.GigsAllDiskSpace = h.DiskTotalGB, h.DiskTotalGB
	}
	if h.DiskAvailableGB >= 0 {
		out.GigsDiskSpaceAvailable = h.DiskAvailableGB
	}
	if h.DiskTotalGB > 0 && h.DiskAvailableGB >= 0 {
		const percent, cents = 100, 100
		out.PercentDiskSpaceAvailable = math.Round(h.DiskAvailableGB/h.DiskTotalGB*percent*cents) / cents
	}
	return out
}

// nameOfMDM is the MDM a host is in.
func nameOfMDM(h *fleet.Host) string {
	if h.MDM.Status.On() || h.MDM.Status == fleet.MDMPending {
		return mdmName
	}
	return ""
}

func toHostMDM(h *fleet.Host, now time.Time) apiv1.HostMDM {
	connected, archived := h.MDM.Status.On(), false
	out := apiv1.HostMDM{
		EnrollmentStatus: textOrNull(h.MDM.Status.String()), ServerURL: textOrNull(h.MDM.ServerURL), Name: nameOfMDM(h),
		ConnectedToFleet: &connected, EncryptionKeyArchived: &archived, DeviceStatus: h.MDM.Device.String(), PendingAction: h.MDM.Pending.String(), ActionError: h.MDM.ActionError,
		OSSettings: &apiv1.OSSettings{}, Profiles: []apiv1.HostProfile{},
		IsPersonalEnrollment: h.MDM.Status == fleet.MDMPersonal, BootstrapTokenEscrowed: h.MDM.BootstrapHeld,
		RefetchOutstandingSince: timeOrNull(h.RefetchAt), Silent: h.Silent(now),
	}
	if h.Platform == fleet.PlatformDarwin {
		out.MacOSSettings, out.MacOSSetup = &apiv1.MacOSSettings{}, &apiv1.MacOSSetup{}
	}
	return out
}

func toHostDetail(h *fleet.HostDetail, now time.Time) apiv1.HostDetail {
	none := []string{}
	out := apiv1.HostDetail{
		Host: toHost(&h.Host, now), Labels: make([]apiv1.HostLabel, 0, len(h.Labels)),
		Packs: none, Policies: none, Software: []apiv1.Software{}, Users: none, Batteries: toBatteries(&h.Vitals), EndUsers: none,
		Vitals:            toHostVitals(h),
		LastMDMEnrolledAt: timeOrNull(h.MDM.EnrolledAt), LastMDMCheckedInAt: timeOrNull(h.MDM.CheckedInAt),
		Enrollments: make([]apiv1.HostEnrollment, 0, len(h.Enrollments)), PendingCommands: h.PendingCommands,
	}
	out.DiskEncryptionEnabled = truthOrNull(h.Vitals.FileVault)
	if p := h.Package; p != nil && out.MDM.MacOSSetup != nil {
		*out.MDM.MacOSSetup = apiv1.MacOSSetup{BootstrapPackageStatus: p.Status.String(), Details: p.Detail, BootstrapPackageName: p.Name}
	}
	for _, l := range h.Labels {
		kind := "regular"
		if l.Builtin {
			kind = "builtin"
		}
		out.Labels = append(out.Labels, apiv1.HostLabel{ID: int64(l.ID), Name: l.Name, LabelType: kind})
	}
	for _, e := range h.Enrollments {
		channel := "user"
		if e.Channel.IsDevice() {
			channel = "device"
		}
		out.Enrollments = append(out.Enrollments, apiv1.HostEnrollment{
			Channel: channel, ID: e.Key, State: e.State.String(), UserName: e.UserName,
			EnrolledAt: timeOrNull(e.EnrolledAt), SeenAt: timeOrNull(e.SeenAt), TokenUpdatedAt: timeOrNull(e.TokenUpdatedAt),
			PushBrokenAt: timeOrNull(e.PushBrokenAt), PushReason: e.PushReason,
		})
	}
	return out
}
