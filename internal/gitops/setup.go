package gitops

import (
	"strconv"

	"gopkg.in/yaml.v3"

	apiv1 "github.com/muster-mdm/muster/api/v1"
)

// laterSetup are keys of Setup Assistant that files cannot set yet.
var laterSetup = []string{"bootstrap_package", "macos_setup_assistant", "enable_end_user_authentication", "lock_end_user_info", "require_all_software_macos",
	"require_all_software_windows", "script", "software", "apple_setup_assistant", "macos_bootstrap_package"}

// truth reads true or false; nil where there is no value.
func (s *source) truth(n *yaml.Node, what string) *bool {
	t := s.text(n, what)
	if t == nil || *t == "" {
		return nil
	}
	v, err := strconv.ParseBool(*t)
	if err != nil {
		s.fault(n, what, "must be true or false")
		return nil
	}
	return &v
}

// number reads a whole number; nil where there is no value.
func (s *source) number(n *yaml.Node, what string) *int {
	t := s.text(n, what)
	if t == nil || *t == "" {
		return nil
	}
	v, err := strconv.Atoi(*t)
	if err != nil {
		s.fault(n, what, "must be a whole number")
		return nil
	}
	return &v
}

// setup reads what happens in Setup Assistant.
func (s *source) setup(n *yaml.Node, what string) *apiv1.SetupExperiencePatch {
	p := &apiv1.SetupExperiencePatch{}
	if isNull(s.value(n)) {
		return nil
	}
	truth := func(key string, to **bool) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = s.truth(n, under(what, key)) }
	}
	s.mapping(n, what, keys{later: laterSetup, take: map[string]func(*yaml.Node){
		"enable_release_device_manually": truth("enable_release_device_manually", &p.EnableReleaseDeviceManually),
		"manual_agent_install":           truth("manual_agent_install", &p.ManualAgentInstall),
		"hold_on_timeout":                truth("hold_on_timeout", &p.HoldOnTimeout),
		"release_timeout_minutes":        func(n *yaml.Node) { p.ReleaseTimeoutMinutes = s.number(n, under(what, "release_timeout_minutes")) },
	}})
	return p
}

// brake reads the limits of what one person can do to hosts.
func (s *source) brake(n *yaml.Node, what string) *apiv1.BrakePatch {
	p := &apiv1.BrakePatch{}
	if isNull(s.value(n)) {
		return nil
	}
	number := func(key string, to **int) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = s.number(n, under(what, key)) }
	}
	list := func(key string, to **[]string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			values := s.texts(n, under(what, key))
			if values == nil {
				values = []string{}
			}
			*to = &values
		}
	}
	s.mapping(n, what, keys{take: map[string]func(*yaml.Node){
		"wipes_per_hour": number("wipes_per_hour", &p.WipesPerHour), "locks_per_hour": number("locks_per_hour", &p.LocksPerHour),
		"unenrolls_per_hour": number("unenrolls_per_hour", &p.UnenrollsPerHour), "deletes_per_hour": number("deletes_per_hour", &p.DeletesPerHour),
		"delay_minutes": number("delay_minutes", &p.DelayMinutes),
		"approval_for":  list("approval_for", &p.ApprovalFor), "delay_for": list("delay_for", &p.DelayFor),
	}})
	return p
}

func truthNode(v bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
}

func numberNode(v int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(v)}
}

func setupNode(s apiv1.SetupExperience) *yaml.Node {
	return &mapped().add("enable_release_device_manually", truthNode(s.EnableReleaseDeviceManually)).add("manual_agent_install", truthNode(s.ManualAgentInstall)).
		add("release_timeout_minutes", numberNode(s.ReleaseTimeoutMinutes)).add("hold_on_timeout", truthNode(s.HoldOnTimeout)).node
}

func brakeNode(b apiv1.Brake) *yaml.Node {
	return &mapped().add("wipes_per_hour", numberNode(b.WipesPerHour)).add("locks_per_hour", numberNode(b.LocksPerHour)).
		add("unenrolls_per_hour", numberNode(b.UnenrollsPerHour)).add("deletes_per_hour", numberNode(b.DeletesPerHour)).
		add("approval_for", texts(b.ApprovalFor)).add("delay_for", texts(b.DelayFor)).add("delay_minutes", numberNode(b.DelayMinutes)).node
}
