package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// ProfileUpload is a configuration profile or declaration to upload.
type ProfileUpload struct {
	FileName string
	Content  []byte // nil in a change: stays as it is
	TeamID   int64
	// Labels by name. In a change, nil lists stay as they are, unless another
	// is given.
	LabelsIncludeAll []string
	LabelsIncludeAny []string
	LabelsExcludeAny []string
	Rollout          *apiv1.RolloutPlan
}

func (u ProfileUpload) write(form *multipart.Writer) error {
	if u.Content != nil {
		part, err := form.CreateFormFile("profile", u.FileName)
		if err != nil {
			return err
		}
		if _, err := part.Write(u.Content); err != nil {
			return err
		}
	}
	type field struct{ name, value string }
	var fields []field
	if u.TeamID != 0 {
		fields = append(fields, field{"team_id", itoa(u.TeamID)})
	}
	for name, labels := range map[string][]string{"labels_include_all": u.LabelsIncludeAll, "labels_include_any": u.LabelsIncludeAny, "labels_exclude_any": u.LabelsExcludeAny} {
		for _, label := range labels {
			fields = append(fields, field{name, label})
		}
		if labels != nil && len(labels) == 0 {
			fields = append(fields, field{name, ""})
		}
	}
	if u.Rollout != nil {
		text, err := json.Marshal(u.Rollout)
		if err != nil {
			return err
		}
		fields = append(fields, field{"rollout", string(text)})
	}
	for _, f := range fields {
		if err := form.WriteField(f.name, f.value); err != nil {
			return err
		}
	}
	return form.Close()
}

func (c *Client) upload(ctx context.Context, method, path string, u ProfileUpload) (apiv1.CreateProfileResponse, error) {
	var out apiv1.CreateProfileResponse
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	if err := u.write(form); err != nil {
		return out, fmt.Errorf("encode upload: %w", err)
	}
	err := c.do(ctx, request{method: method, path: path, raw: buf.Bytes(), contentType: form.FormDataContentType(), into: &out})
	return out, err
}

// CreateProfile uploads a profile or declaration; 409 when the team has one of
// that name or identifier.
func (c *Client) CreateProfile(ctx context.Context, u ProfileUpload) (apiv1.CreateProfileResponse, error) {
	if u.Content == nil {
		u.Content = []byte{}
	}
	return c.upload(ctx, http.MethodPost, prefix+"/configuration_profiles", u)
}

// ModifyProfile replaces content, labels or both.
func (c *Client) ModifyProfile(ctx context.Context, uuid string, u ProfileUpload) (apiv1.CreateProfileResponse, error) {
	return c.upload(ctx, http.MethodPatch, profilePath(uuid), u)
}

func profilePath(uuid string) string {
	return prefix + "/configuration_profiles/" + url.PathEscape(uuid)
}

// Profiles lists all profiles and declarations of a team; 0: of hosts without
// a team.
func (c *Client) Profiles(ctx context.Context, team int64) ([]apiv1.Profile, error) {
	profiles := []apiv1.Profile{}
	err := walk(func(page int) (bool, error) {
		v := pageOf(page, pageSize)
		v.Set("team_id", itoa(team))
		var out apiv1.ProfilesResponse
		err := c.get(ctx, prefix+"/configuration_profiles", v, &out)
		profiles = append(profiles, out.Profiles...)
		return out.Meta.HasNextResults, err
	})
	return profiles, err
}

// Profile is a profile or declaration.
func (c *Client) Profile(ctx context.Context, uuid string) (apiv1.Profile, error) {
	var out apiv1.Profile
	err := c.get(ctx, profilePath(uuid), nil, &out)
	return out, err
}

// ProfileContent is the file of a profile or declaration.
func (c *Client) ProfileContent(ctx context.Context, uuid string) ([]byte, error) {
	var out []byte
	err := c.do(ctx, request{method: http.MethodGet, path: profilePath(uuid), query: url.Values{"alt": {"media"}}, accept: func(_ string, data []byte) error {
		out = data
		return nil
	}})
	return out, err
}

// DeleteProfile removes a profile: hosts lose it.
func (c *Client) DeleteProfile(ctx context.Context, uuid string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: profilePath(uuid)})
}

// SetProfiles replaces all profiles and declarations of a team, all together
// or not at all.
func (c *Client) SetProfiles(ctx context.Context, team int64, profiles []apiv1.ProfileBatchItem) error {
	return c.SetPlannedProfiles(ctx, team, profiles, 0)
}

// SetPlannedProfiles is SetProfiles with the revision of a plan: it is refused
// (409) when the team's profiles changed since. 0: any revision.
func (c *Client) SetPlannedProfiles(ctx context.Context, team int64, profiles []apiv1.ProfileBatchItem, revision int64) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/configuration_profiles/batch", query: url.Values{"team_id": {itoa(team)}, "revision": {itoa(revision)}},
		body: apiv1.ProfileBatchRequest{ConfigurationProfiles: profiles}})
}

// PlanProfiles tells what SetProfiles would do. assumed are custom variables
// that will be set before.
func (c *Client) PlanProfiles(ctx context.Context, team int64, profiles []apiv1.ProfileBatchItem, assumed []string) ([]apiv1.ProfileChange, error) {
	v := flags(true, false)
	v.Set("team_id", itoa(team))
	var out apiv1.ProfileBatchResponse
	err := c.do(ctx, request{method: http.MethodPost, path: prefix + "/configuration_profiles/batch", query: v,
		body: apiv1.ProfileBatchRequest{ConfigurationProfiles: profiles, AssumeSecrets: assumed}, into: &out})
	return out.Changes, err
}

// ProfilesSummary counts a team's hosts by the worst status of their profiles.
func (c *Client) ProfilesSummary(ctx context.Context, team int64) (apiv1.ProfileStatusCounts, error) {
	var out apiv1.ProfileStatusCounts
	err := c.get(ctx, prefix+"/configuration_profiles/summary", url.Values{"team_id": {itoa(team)}}, &out)
	return out, err
}

// ProfileStatus counts the hosts of a profile by status.
func (c *Client) ProfileStatus(ctx context.Context, uuid string) (apiv1.ProfileStatusCounts, error) {
	var out apiv1.ProfileStatusCounts
	err := c.get(ctx, profilePath(uuid)+"/status", nil, &out)
	return out, err
}

// ProfileHosts is one page of the hosts of a profile; status and detail may be
// empty, perPage 0 is the server's.
func (c *Client) ProfileHosts(ctx context.Context, uuid, status, detail string, page, perPage int) (apiv1.ProfileHostsResponse, error) {
	v := pageOf(page, perPage)
	for name, value := range map[string]string{"status": status, "error": detail} {
		if value != "" {
			v.Set(name, value)
		}
	}
	var out apiv1.ProfileHostsResponse
	err := c.get(ctx, profilePath(uuid)+"/hosts", v, &out)
	return out, err
}

// HostProfiles lists the profiles of a host.
func (c *Client) HostProfiles(ctx context.Context, host int64) ([]apiv1.HostProfile, error) {
	var out apiv1.HostProfilesResponse
	err := c.get(ctx, prefix+"/hosts/"+itoa(host)+"/configuration_profiles", nil, &out)
	return out.Profiles, err
}

// ResendProfile sends a profile to a host again, whatever its status.
func (c *Client) ResendProfile(ctx context.Context, host int64, uuid string) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/hosts/" + itoa(host) + "/configuration_profiles/" + url.PathEscape(uuid) + "/resend"})
}

// ResendFailedProfile sends a profile again to all hosts on which it failed, or
// only to those whose error contains detail.
func (c *Client) ResendFailedProfile(ctx context.Context, uuid, detail string) error {
	return c.do(ctx, request{method: http.MethodPost, path: prefix + "/configuration_profiles/resend/batch",
		body: apiv1.ResendBatchRequest{ProfileUUID: uuid, Filters: apiv1.ResendFilter{ProfileStatus: "failed", Detail: detail}}})
}

// SteerRollout halts, resumes, completes or rolls back a rollout.
func (c *Client) SteerRollout(ctx context.Context, uuid, action, reason string) (apiv1.Profile, error) {
	var out apiv1.Profile
	err := c.do(ctx, request{method: http.MethodPost, path: profilePath(uuid) + "/rollout", body: apiv1.SteerRolloutRequest{Action: action, Reason: reason}, into: &out})
	return out, err
}
