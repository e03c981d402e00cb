package applenet

import (
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// devicesJSON is a request about devices.
type devicesJSON struct {
	ProfileUUID string   `json:"profile_uuid,omitempty"`
	Devices     []string `json:"devices"`
}

// stamp is a time that may be null, empty or of a form to come: then it is
// not known, and the device is not lost for it.
type stamp struct{ time.Time }

func (s *stamp) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil //nolint:nilerr // see the type
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		s.Time = at.UTC()
	}
	return nil
}

// listed is a list of strings that older servers send as one string.
type listed []string

func (l *listed) UnmarshalJSON(raw []byte) error {
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		*l = many
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		*l = listed{one}
	}
	return nil
}

type deviceJSON struct {
	Serial        string `json:"serial_number"`
	Model         string `json:"model"`
	Description   string `json:"description"`
	Color         string `json:"color"`
	AssetTag      string `json:"asset_tag"`
	Family        string `json:"device_family"`
	OS            string `json:"os"`
	ProfileUUID   string `json:"profile_uuid"`
	ProfileStatus string `json:"profile_status"`
	AssignTime    stamp  `json:"profile_assign_time"`
	PushTime      stamp  `json:"profile_push_time"`
	AssignedDate  stamp  `json:"device_assigned_date"`
	AssignedBy    string `json:"device_assigned_by"`
	Deadline      stamp  `json:"mdm_migration_deadline"`
	Op            string `json:"op_type"`
	OpDate        stamp  `json:"op_date"`
	IMEI          listed `json:"imei"`
	MEID          listed `json:"meid"`
	EID           string `json:"eid"`
	WiFi          string `json:"wifi_mac_address"`
	Bluetooth     string `json:"bluetooth_mac_address"`
	Ethernet      listed `json:"ethernet_mac_address"`
	Replacement   bool   `json:"is_replacement_device"`
	Released      bool   `json:"released_by_replacement"`
	// Status is of device details only.
	Status string `json:"response_status"`
}

func (d *deviceJSON) device() fleet.DEPDevice {
	return fleet.DEPDevice{Serial: d.Serial, Model: d.Model, Description: d.Description, Color: d.Color, AssetTag: d.AssetTag, Family: d.Family, OS: d.OS,
		ProfileUUID: d.ProfileUUID, ProfileStatus: d.ProfileStatus, ProfileAssignTime: d.AssignTime.Time, ProfilePushTime: d.PushTime.Time,
		AssignedDate: d.AssignedDate.Time, AssignedBy: d.AssignedBy, MigrationDeadline: d.Deadline.Time, Op: fleet.DEPOp(d.Op), OpDate: d.OpDate.Time,
		IMEI: d.IMEI, MEID: d.MEID, EID: d.EID, WiFiMAC: d.WiFi, BluetoothMAC: d.Bluetooth, EthernetMAC: d.Ethernet,
		Replacement: d.Replacement, ReleasedByReplacement: d.Released}
}

// decode reads a whole answer; fields that are not known are left alone.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return unreadable(err)
	}
	return nil
}

// decodePage refuses a page that does not say how to go on: an answer that
// lost its end must not pass for the end of the list.
func decodePage(body []byte) (fleet.DEPPage, error) {
	var reply struct {
		Devices      []deviceJSON `json:"devices"`
		Cursor       string       `json:"cursor"`
		FetchedUntil stamp        `json:"fetched_until"`
		More         *bool        `json:"more_to_follow"`
	}
	if err := decode(body, &reply); err != nil {
		return fleet.DEPPage{}, err
	}
	if reply.More == nil || reply.Cursor == "" {
		return fleet.DEPPage{}, unreadable(errors.New("a page without cursor or more_to_follow"))
	}
	p := fleet.DEPPage{Cursor: reply.Cursor, FetchedUntil: reply.FetchedUntil.Time, More: *reply.More, Devices: make([]fleet.DEPDevice, 0, len(reply.Devices))}
	for i := range reply.Devices {
		if reply.Devices[i].Serial == "" {
			return fleet.DEPPage{}, unreadable(errors.New("a device without serial_number"))
		}
		p.Devices = append(p.Devices, reply.Devices[i].device())
	}
	return p, nil
}

func decodeDetails(body []byte, into map[string]fleet.DEPDevice) error {
	var reply struct {
		Devices map[string]deviceJSON `json:"devices"`
	}
	if err := decode(body, &reply); err != nil {
		return err
	}
	if reply.Devices == nil {
		return unreadable(errors.New("no devices"))
	}
	for serial, d := range reply.Devices {
		if d.Status != "" && resultOf(d.Status) != fleet.DEPSuccess {
			continue
		}
		d.Serial = serial
		into[serial] = d.device()
	}
	return nil
}

func decodeResults(body []byte) (fleet.DEPResults, error) {
	var reply struct {
		ProfileUUID string            `json:"profile_uuid"`
		Devices     map[string]string `json:"devices"`
		RetryAfter  json.Number       `json:"retry_after_seconds"`
	}
	if err := decode(body, &reply); err != nil {
		return fleet.DEPResults{}, err
	}
	if reply.Devices == nil {
		return fleet.DEPResults{}, unreadable(errors.New("no devices"))
	}
	r := fleet.DEPResults{ProfileUUID: reply.ProfileUUID, Devices: make(map[string]fleet.DEPResult, len(reply.Devices))}
	for serial, word := range reply.Devices {
		r.Devices[serial] = resultOf(word)
	}
	if n, err := reply.RetryAfter.Float64(); err == nil {
		r.RetryAfter = time.Duration(min(max(n, 0), maxRetryAfter.Seconds()) * float64(time.Second))
	}
	return r, nil
}

// resultOf takes a word that is not known for a failure, which is tried again.
func resultOf(word string) fleet.DEPResult {
	for _, r := range []fleet.DEPResult{fleet.DEPSuccess, fleet.DEPNotAccessible, fleet.DEPThrottled} {
		if r.String() == word {
			return r
		}
	}
	return fleet.DEPFailed
}

func decodeAccount(body []byte) (fleet.DEPAccount, error) {
	var reply struct {
		ServerName  string `json:"server_name"`
		ServerUUID  string `json:"server_uuid"`
		AdminID     string `json:"admin_id"`
		Facilitator string `json:"facilitator_id"` // before version 3
		OrgName     string `json:"org_name"`
		OrgID       string `json:"org_id"`
		OrgIDHash   string `json:"org_id_hash"`
		OrgType     string `json:"org_type"`
		OrgVersion  string `json:"org_version"`
		OrgEmail    string `json:"org_email"`
		OrgPhone    string `json:"org_phone"`
		OrgAddress  string `json:"org_address"`
		URLs        []struct {
			URI   string `json:"uri"`
			Limit struct {
				Default int `json:"default"`
				Maximum int `json:"maximum"`
			} `json:"limit"`
		} `json:"urls"`
	}
	if err := decode(body, &reply); err != nil {
		return fleet.DEPAccount{}, err
	}
	if reply.ServerUUID == "" {
		return fleet.DEPAccount{}, unreadable(errors.New("an account without server_uuid"))
	}
	a := fleet.DEPAccount{ServerName: reply.ServerName, ServerUUID: reply.ServerUUID, AdminID: reply.AdminID, OrgName: reply.OrgName, OrgID: reply.OrgID,
		OrgIDHash: reply.OrgIDHash, OrgType: reply.OrgType, OrgVersion: reply.OrgVersion, OrgEmail: reply.OrgEmail, OrgPhone: reply.OrgPhone,
		OrgAddress: reply.OrgAddress, Limits: make(map[string]fleet.DEPLimit, len(reply.URLs))}
	if a.AdminID == "" {
		a.AdminID = reply.Facilitator
	}
	for _, u := range reply.URLs {
		a.Limits[u.URI] = fleet.DEPLimit{Default: u.Limit.Default, Maximum: u.Limit.Maximum}
	}
	return a, nil
}

func chunks(serials []string) iter.Seq[[]string] { return slices.Chunk(serials, MaxDEPDevices) }
