package command

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/fleet"
)

func TestWhatFollowsFromAnAnswer(t *testing.T) {
	type outcome struct {
		keep, store, unenrolled, vitals bool
		event                           fleet.EventKind
		fault                           string
	}
	answered := outcome{store: true, event: fleet.EventCommandAnswered}
	gone := outcome{store: true, unenrolled: true, event: fleet.EventCommandAnswered}
	kept := outcome{keep: true}
	table := map[fleet.CommandPurpose]map[fleet.CommandStatus]outcome{
		fleet.CommandCustom: {fleet.CommandAcknowledged: answered, fleet.CommandError: answered, fleet.CommandFormatError: answered, fleet.CommandNotNow: kept},
		fleet.CommandVitals: {fleet.CommandAcknowledged: {vitals: true}, fleet.CommandError: {fault: "R: Error"},
			fleet.CommandFormatError: {fault: "R: CommandFormatError"}, fleet.CommandNotNow: kept},
		// A device that says there is nothing to remove has left as well.
		fleet.CommandUnenroll: {fleet.CommandAcknowledged: gone, fleet.CommandError: gone, fleet.CommandFormatError: gone, fleet.CommandNotNow: kept},
	}
	answer, err := plist.ReadDict([]byte(`<plist version="1.0"><dict><key>QueryResponses</key><dict><key>OSVersion</key><string>18.6</string></dict></dict></plist>`))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for purpose, byStatus := range table {
		for status, want := range byStatus {
			target := fleet.CommandTarget{Command: fleet.Command{UUID: "REFETCH-DEVICE-1", RequestType: "R", Purpose: purpose}, Sends: 2, NotNowCount: 1}
			report := fleet.CommandReport{Key: fleet.EnrollmentKey{ID: "UDID:USER", ParentID: "UDID"}, CommandUUID: "U", Status: status, At: at}
			got := Outcome(target, report, answer)
			seen := outcome{keep: got.Keep, store: got.Store, unenrolled: got.Unenrolled, vitals: got.Inventory != nil, fault: got.RefetchFault}
			if got.Event != nil {
				seen.event = got.Event.Kind
				if got.Event.Actor.Kind != fleet.ActorDevice || got.Event.Actor.Name != "UDID" || !got.Event.At.Equal(at) {
					t.Errorf("purpose %d, %s: the event is %+v", purpose, status, got.Event)
				}
			}
			if seen != want {
				t.Errorf("purpose %d, %s: %+v, want %+v", purpose, status, seen, want)
			}
			if !got.Keep && got.Status != status {
				t.Errorf("purpose %d, %s: it is stored as %s", purpose, status, got.Status)
			}
			if got.Inventory != nil && got.Inventory.Vitals.OSVersion != "18.6" {
				t.Errorf("the vitals are %+v", got.Inventory.Vitals)
			}
		}
	}
}

func TestTheEventOfAnErrorExplainsIt(t *testing.T) {
	report := fleet.CommandReport{Status: fleet.CommandError, ErrorChain: []fleet.ErrorChainItem{
		{Code: 12021, Domain: "MCMDMErrorDomain", Localized: "Unbekannt", USEnglish: "Unknown"}, {Code: 1, Domain: "D", Localized: "Nur hier"}}}
	got := Outcome(fleet.CommandTarget{Command: fleet.Command{UUID: "U", RequestType: "R", Purpose: fleet.CommandCustom}, Sends: 3, NotNowCount: 2}, report, nil)
	var details struct {
		CommandUUID string `json:"command_uuid"`
		Status      string `json:"status"`
		Sends       int    `json:"sends"`
		NotNow      int    `json:"not_now"`
		ErrorChain  []struct {
			Code         int64
			Domain, Text string
		} `json:"error_chain"`
	}
	if err := json.Unmarshal(got.Event.Details, &details); err != nil {
		t.Fatal(err)
	}
	if details.CommandUUID != "U" || details.Status != "Error" || details.Sends != 3 || details.NotNow != 2 || len(details.ErrorChain) != 2 ||
		details.ErrorChain[0].Text != "Unknown" || details.ErrorChain[0].Code != 12021 || details.ErrorChain[1].Text != "Nur hier" {
		t.Errorf("the details are %s", got.Event.Details)
	}
}
