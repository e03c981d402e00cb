package gitops

import (
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// Keys of Fleet that Muster does not have yet.
var (
	laterControls = []string{"scripts", "windows_enabled_and_configured", "windows_migration_enabled", "enable_turn_on_windows_mdm_manually",
		"enable_disk_encryption", "windows_require_bitlocker_pin", "windows_updates", "windows_settings", "android_settings", "android_enabled_and_configured",
		"macos_migration", "linux_settings", "enable_recovery_lock_password", "name_template", "windows_entra_tenant_ids",
		"apple_require_hardware_attestation"}
	laterTop = []string{"agent_options", "policies", "queries", "reports", "software"}
	laterOrg = []string{"smtp_settings", "sso_settings", "host_expiry_settings", "features", "fleet_desktop", "webhook_settings",
		"integrations", "certificate_authorities", "gitops", "yara_rules", "conditional_access", "agent_options"}
	laterTeamSettings = []string{"features", "host_expiry_settings", "webhook_settings", "integrations", "conditional_access_enabled"}
	laterMDM          = []string{"apple_business_manager", "volume_purchasing_program", "end_user_authentication", "end_user_license_agreement",
		"apple_server_token", "macos_migration", "windows_updates", "windows_settings", "android_settings", "enable_disk_encryption",
		"windows_enabled_and_configured", "windows_migration_enabled", "enable_turn_on_windows_mdm_manually", "windows_require_bitlocker_pin",
		"apple_bm_default_team"}
	// Read-only keys of what the server shows.
	shownServer = []string{"live_query_disabled", "enable_analytics", "deferred_save_host", "query_reports_disabled", "scripts_disabled",
		"ai_features_disabled", "query_report_cap", "debug_host_ids"}
	shownMDM = []string{"enabled_and_configured", "apple_bm_enabled_and_configured", "apple_bm_terms_expired", "android_enabled_and_configured"}
	shownTop = []string{"license", "logging", "update_interval", "vulnerabilities", "email", "partnerships"}
)

// layout reads a file of the GitOps layout.
func (s *source) layout(docs []*yaml.Node) {
	if len(docs) == 0 {
		s.faults = append(s.faults, Fault{Place{File: s.file}, "", "the file is empty"})
		return
	}
	if len(docs) > 1 {
		s.fault(docs[1], "", "the file must hold one document")
		return
	}
	n := docs[0]
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.file), ".yml"), ".yaml")
	withoutTeam := base == "no-team" || base == "unassigned"
	switch {
	case withoutTeam || hasKey(n, "name"):
		s.teamFile(n, withoutTeam)
	case hasKey(n, "team_settings"), hasKey(n, "settings"):
		s.fault(n, "name", "is missing: a file of a team begins with its name")
	default:
		s.globalFile(n)
	}
}

func (s *source) globalFile(n *yaml.Node) {
	if s.global.File != "" {
		s.fault(n, "", "has no name, so that it speaks of the whole server, as %s does: give one such file, and names to teams", s.global.File)
		return
	}
	s.global = s.at(n)
	s.mapping(n, "", keys{later: laterTop, take: map[string]func(*yaml.Node){
		"org_settings": func(n *yaml.Node) { s.elsewhere(n, "org_settings", (*source).orgSettings) },
		"controls": func(n *yaml.Node) {
			if !isNull(s.value(n)) {
				s.controlsOf(s.noTeam(s.at(n)), n, true)
			}
		},
		"labels": func(n *yaml.Node) { s.labels(n, "labels") },
	}})
}

// elsewhere reads a section here, or in the file that its only key path names.
func (s *source) elsewhere(n *yaml.Node, what string, read func(*source, *yaml.Node)) {
	n = s.value(n)
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "path" {
		if next, doc := s.load(n.Content[1], what+".path"); next != nil {
			read(next, doc)
		}
		return
	}
	read(s, n)
}

func (s *source) orgSettings(n *yaml.Node) { s.config(n, "org_settings", true) }

// config reads settings of the organization.
func (s *source) config(n *yaml.Node, what string, layout bool) {
	if isNull(n) {
		return
	}
	c := &s.out.Config
	if s.out.ConfigAt == (Place{}) {
		s.out.ConfigAt = s.at(n)
	}
	k := keys{later: laterOrg, ignored: shownTop, take: map[string]func(*yaml.Node){
		"org_info": func(n *yaml.Node) {
			info := &apiv1.OrgInfoPatch{}
			c.OrgInfo = info
			s.mapping(n, under(what, "org_info"), keys{take: map[string]func(*yaml.Node){
				"org_name":     func(n *yaml.Node) { info.OrgName = s.text(n, under(what, "org_info.org_name")) },
				"org_logo_url": func(n *yaml.Node) { info.OrgLogoURL = s.text(n, under(what, "org_info.org_logo_url")) },
				"org_logo_url_light_background": func(n *yaml.Node) {
					info.OrgLogoURLLight = s.text(n, under(what, "org_info.org_logo_url_light_background"))
				},
				"contact_url": func(n *yaml.Node) { info.ContactURL = s.text(n, under(what, "org_info.contact_url")) },
			}})
		},
		"server_settings": func(n *yaml.Node) {
			server := &apiv1.ServerSettingsPatch{}
			c.ServerSettings = server
			s.mapping(n, under(what, "server_settings"), keys{ignored: shownServer, take: map[string]func(*yaml.Node){
				"server_url": func(n *yaml.Node) { server.ServerURL = s.text(n, under(what, "server_settings.server_url")) },
			}})
		},
		"activity_expiry_settings": func(n *yaml.Node) {
			expiry := &apiv1.ActivityExpiryPatch{}
			c.ActivityExpiry = expiry
			what := under(what, "activity_expiry_settings")
			s.mapping(n, what, keys{take: map[string]func(*yaml.Node){
				"activity_expiry_enabled": func(n *yaml.Node) { expiry.Enabled = s.truth(n, under(what, "activity_expiry_enabled")) },
				"activity_expiry_window":  func(n *yaml.Node) { expiry.Window = s.number(n, under(what, "activity_expiry_window")) },
			}})
		},
		"mdm": func(n *yaml.Node) { s.configMDM(n, under(what, "mdm"), layout) },
	}}
	if layout {
		k.take["secrets"] = func(n *yaml.Node) {
			s.enrollSecrets(s.noTeam(s.at(n)), n, under(what, "secrets"))
		}
	}
	s.mapping(n, what, k)
}

func (s *source) patchMDM() *apiv1.MDMConfigPatch {
	if s.out.Config.MDM == nil {
		s.out.Config.MDM = &apiv1.MDMConfigPatch{}
	}
	return s.out.Config.MDM
}

func (s *source) configMDM(n *yaml.Node, what string, layout bool) {
	k := keys{later: laterMDM, ignored: shownMDM, take: map[string]func(*yaml.Node){
		"apple_server_url": func(n *yaml.Node) { s.patchMDM().AppleServerURL = s.text(n, under(what, "apple_server_url")) },
		"brake":            func(n *yaml.Node) { s.patchMDM().Brake = s.brake(n, under(what, "brake")) },
	}}
	if !layout {
		// In the GitOps layout these are controls.
		s.teamMDM(k.take, what, func() *Team { return s.noTeam(s.at(n)) }, true)
	}
	s.mapping(n, what, k)
}

// teamMDM adds what a team and hosts without one have in common.
func (s *source) teamMDM(take map[string]func(*yaml.Node), what string, team func() *Team, withoutTeam bool) {
	set := func(key string, n *yaml.Node) {
		u := s.updates(n, under(what, key))
		if u == nil {
			return
		}
		if withoutTeam {
			if s.out.ConfigAt == (Place{}) {
				s.out.ConfigAt = s.at(n)
			}
			p := s.patchMDM()
			*map[string]**apiv1.OSUpdates{"macos_updates": &p.MacOSUpdates, "ios_updates": &p.IOSUpdates, "ipados_updates": &p.IPadOSUpdates}[key] = u
			return
		}
		t := team()
		if t.Spec.MDM == nil {
			t.Spec.MDM = &apiv1.TeamMDMPatch{}
		}
		p := t.Spec.MDM
		*map[string]**apiv1.OSUpdates{"macos_updates": &p.MacOSUpdates, "ios_updates": &p.IOSUpdates, "ipados_updates": &p.IPadOSUpdates}[key] = u
	}
	for _, key := range []string{"macos_updates", "ios_updates", "ipados_updates"} {
		take[key] = func(n *yaml.Node) { set(key, n) }
	}
	for _, key := range []string{"macos_setup", "setup_experience"} {
		take[key] = func(n *yaml.Node) {
			p := s.setup(n, under(what, key))
			if p == nil {
				return
			}
			if withoutTeam {
				if s.out.ConfigAt == (Place{}) {
					s.out.ConfigAt = s.at(n)
				}
				s.patchMDM().MacOSSetup = p
				return
			}
			t := team()
			if t.Spec.MDM == nil {
				t.Spec.MDM = &apiv1.TeamMDMPatch{}
			}
			t.Spec.MDM.MacOSSetup = p
		}
	}
	for _, key := range []string{"macos_settings", "apple_settings"} {
		take[key] = func(n *yaml.Node) {
			at := under(what, key)
			lists := map[string]func(*yaml.Node){}
			for _, list := range []string{"custom_settings", "configuration_profiles"} {
				lists[list] = func(n *yaml.Node) { s.profiles(team(), n, under(at, list)) }
			}
			s.mapping(n, at, keys{take: lists, later: []string{"enable_disk_encryption"}})
		}
	}
	take["configuration_profiles"] = func(n *yaml.Node) { s.profiles(team(), n, under(what, "configuration_profiles")) }
}

// updates reads an enforced version; without values none is enforced.
func (s *source) updates(n *yaml.Node, what string) *apiv1.OSUpdates {
	n = s.value(n)
	if isNull(n) {
		s.warn(n, what, "has no value, so that nothing is changed; write empty minimum_version and deadline to enforce none")
		return nil
	}
	version, deadline := "", ""
	s.mapping(n, what, keys{later: []string{"update_new_hosts", "deadline_days"}, take: map[string]func(*yaml.Node){
		"minimum_version": func(n *yaml.Node) { version = s.textOrNone(n, under(what, "minimum_version")) },
		"deadline":        func(n *yaml.Node) { deadline = s.textOrNone(n, under(what, "deadline")) },
	}})
	if (version == "") != (deadline == "") {
		s.fault(n, what, "give both minimum_version and deadline, or neither")
	}
	return &apiv1.OSUpdates{MinimumVersion: &version, Deadline: &deadline}
}

// controlsOf reads the controls of a team.
func (s *source) controlsOf(t *Team, n *yaml.Node, withoutTeam bool) {
	if withoutTeam {
		if s.controls.File != "" {
			s.fault(n, "controls", "are in %s as well: those of hosts without a team may be in the global file or in the one of no team", s.controls)
			return
		}
		s.controls = s.at(n)
	}
	s.elsewhere(n, "controls", func(s *source, n *yaml.Node) {
		k := keys{later: laterControls, take: map[string]func(*yaml.Node){}}
		s.teamMDM(k.take, "controls", func() *Team { return t }, withoutTeam)
		s.mapping(n, "controls", k)
	})
}

// enrollSecrets reads all enroll secrets of a team.
func (s *source) enrollSecrets(t *Team, n *yaml.Node, what string) {
	secrets := []apiv1.EnrollSecret{}
	if s.list(n, what, func(n *yaml.Node, what string) {
		found := false
		s.mapping(n, what, keys{ignored: []string{"created_at", "team_id"}, take: map[string]func(*yaml.Node){
			"secret": func(n *yaml.Node) {
				found = true
				if v := s.text(n, what+".secret"); v != nil {
					secrets = append(secrets, apiv1.EnrollSecret{Secret: *v})
				}
			},
		}})
		if !found {
			s.fault(n, what, "has no secret")
		}
	}) {
		t.Spec.Secrets = &secrets
	}
}

func isNoTeam(name string) bool {
	return strings.EqualFold(name, NoTeam) || strings.EqualFold(name, "Unassigned")
}

func (s *source) teamFile(n *yaml.Node, withoutTeam bool) {
	t := &Team{Place: s.at(n)}
	s.mapping(n, "", keys{later: append([]string{"labels"}, laterTop...), take: map[string]func(*yaml.Node){
		"name": func(n *yaml.Node) { t.Place = s.at(n); t.Spec.Name = strings.TrimSpace(s.textOrNone(n, "name")) },
		// What follows is read when the name is known.
		"description": func(*yaml.Node) {}, "team_settings": func(*yaml.Node) {}, "settings": func(*yaml.Node) {}, "controls": func(*yaml.Node) {},
	}})
	switch {
	case withoutTeam && t.Spec.Name != "" && !isNoTeam(t.Spec.Name):
		s.faults = append(s.faults, Fault{t.Place, "name", "is " + t.Spec.Name + ": this file is for hosts without a team, whose name is \"No team\"; rename the file for a team"})
		return
	case withoutTeam || isNoTeam(t.Spec.Name):
		withoutTeam = true
		place := t.Place
		if s.out.NoTeam != nil && s.out.NoTeam.Place.File != s.global.File {
			s.faults = append(s.faults, Fault{place, "name", "hosts without a team are in " + s.out.NoTeam.Place.String() + " as well"})
			return
		}
		t = s.noTeam(place)
	case t.Spec.Name == "":
		s.faults = append(s.faults, Fault{t.Place, "name", "may not be empty"})
		return
	}
	sections := map[string]*yaml.Node{}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if _, twice := sections[n.Content[i].Value]; !twice {
			sections[n.Content[i].Value] = n.Content[i+1]
		}
	}
	if v := sections["description"]; v != nil {
		t.Spec.Description = s.text(v, "description")
	}
	if sections["team_settings"] != nil && sections["settings"] != nil {
		s.fault(sections["settings"], "settings", "is the newer name of team_settings: give one of them")
	}
	for _, key := range []string{"team_settings", "settings"} {
		if v := sections[key]; v != nil {
			take := map[string]func(*yaml.Node){"secrets": func(n *yaml.Node) { s.enrollSecrets(t, n, key+".secrets") }}
			later := laterTeamSettings
			if withoutTeam {
				take, later = nil, append([]string{"secrets"}, later...)
			}
			s.mapping(v, key, keys{take: take, later: later})
		}
	}
	if v := sections["controls"]; v != nil && !isNull(s.value(v)) {
		s.controlsOf(t, v, withoutTeam)
	}
	if !withoutTeam {
		s.out.Teams = append(s.out.Teams, t)
	}
}

// labels reads the whole list of labels.
func (s *source) labels(n *yaml.Node, what string) {
	if s.list(n, what, func(n *yaml.Node, what string) { s.label(n, what) }) {
		s.out.AllLabels, s.out.LabelsAt = true, s.at(n)
	}
}

func (s *source) label(n *yaml.Node, what string) {
	n = s.value(n)
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "path" {
		if next, doc := s.load(n.Content[1], what+".path"); next != nil {
			if doc.Kind == yaml.SequenceNode {
				next.list(doc, what, func(n *yaml.Node, what string) { next.label(n, what) })
				return
			}
			next.label(doc, what)
		}
		return
	}
	l := Label{Place: s.at(n)}
	take := func(key string, into *string) func(*yaml.Node) {
		return func(n *yaml.Node) { *into = s.textOrNone(n, under(what, key)) }
	}
	s.mapping(n, what, keys{
		ignored: []string{"id", "label_type", "created_at", "updated_at", "count", "host_count", "display_text"},
		later:   []string{"team_id", "fleet_id"},
		take: map[string]func(*yaml.Node){
			"name": take("name", &l.Name), "description": take("description", &l.Description), "query": take("query", &l.Query),
			"platform": take("platform", &l.Platform), "label_membership_type": take("label_membership_type", &l.LabelMembershipType),
			"criteria": func(n *yaml.Node) {
				if isNull(s.value(n)) {
					return
				}
				l.Criteria = &apiv1.Criteria{}
				at := under(what, "criteria")
				s.mapping(n, at, keys{take: map[string]func(*yaml.Node){
					"vital":    func(n *yaml.Node) { l.Criteria.Vital = s.textOrNone(n, at) },
					"operator": func(n *yaml.Node) { l.Criteria.Operator = s.textOrNone(n, at) },
					"value":    func(n *yaml.Node) { l.Criteria.Value = s.textOrNone(n, at) },
				}})
			},
			"hosts": func(n *yaml.Node) {
				if hosts := s.texts(n, under(what, "hosts")); hosts != nil {
					l.Hosts = &hosts
				}
			},
		}})
	if l.Name == "" {
		s.fault(n, what, "has no name")
		return
	}
	s.out.Labels = append(s.out.Labels, l)
}
