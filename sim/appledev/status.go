package appledev

// snapshot is what status items are made from.
type snapshot struct {
	spec      Spec
	osVersion string
	build     string
	passcode  bool
	effects   effects
}

// effects are what active configurations make of a device.
type effects struct {
	passcode bool         // one is required
	update   *enforcement // nil: none is pending
	apps     []any        // items of app.managed.list
}

// enforcement is an update that a configuration wants.
type enforcement struct{ declaration, version, build, at string }

// observe takes a snapshot. Call it with mu held.
func (d *Device) observe(c *channel) snapshot {
	s := snapshot{spec: d.spec, osVersion: d.osVersion, build: d.build, passcode: d.passcode}
	if c.ddm != nil {
		s.effects = c.ddm.effects
	}
	for _, p := range d.stores[DeviceChannel] {
		s.effects.passcode = s.effects.passcode || p.profile.holds([]string{typePasscode})
	}
	return s
}

// item returns a status item's value for a channel; nil when it has none.
func (s snapshot) item(name string, c Channel) any {
	i, is := statusItems[name]
	if !is || !i.on(s.spec.Model.Family, s.osVersion, c) {
		return nil
	}
	return i.value(s)
}

// statusItem is one that devices can report.
type statusItem struct {
	support
	value func(snapshot) any
}

// Two status items are reported without a subscription.
const (
	itemDeclarations = "management.declarations"
	itemCapabilities = "management.client-capabilities"
)

// statusItems are those of contracts/apple.md 5.4 that are modeled, but for the
// two above.
var statusItems = map[string]statusItem{
	"device.identifier.serial-number": {support{"16", "13", false}, func(s snapshot) any { return s.spec.Serial }},
	"device.identifier.udid":          {support{"16", "13", false}, func(s snapshot) any { return s.spec.UDID }},
	"device.model.family":             {support{"15", "13", true}, func(s snapshot) any { return s.spec.Model.Family.String() }},
	"device.model.identifier":         {support{"15", "13", true}, func(s snapshot) any { return s.spec.Model.Product }},
	"device.model.marketing-name":     {support{"15", "13", true}, func(s snapshot) any { return s.spec.Model.Name }},
	"device.model.number":             {support{"17", "14", true}, func(s snapshot) any { return s.spec.Model.Number }},

	"device.operating-system.version":                    {support{"15", "13", true}, func(s snapshot) any { return s.osVersion }},
	"device.operating-system.build-version":              {support{"15", "13", true}, func(s snapshot) any { return s.build }},
	"device.operating-system.family":                     {support{"15", "13", true}, func(s snapshot) any { return s.spec.Model.Family.system() }},
	"device.operating-system.marketing-name":             {support{"15", "13", true}, func(s snapshot) any { return s.spec.Model.Family.system() + " " + s.osVersion }},
	"device.operating-system.supplemental.build-version": {support{"16.1", "13", true}, func(s snapshot) any { return s.build }},
	"device.operating-system.supplemental.extra-version": {support{"16.1", "13", true}, func(snapshot) any { return "" }},

	"device.power.battery-health":      {support{"17", "14", false}, func(snapshot) any { return "normal" }},
	"diskmanagement.filevault.enabled": {support{"", "14", false}, func(snapshot) any { return true }},
	"passcode.is-present":              {support{"16", "13", false}, func(s snapshot) any { return s.passcode }},
	"passcode.is-compliant":            {support{"16", "13", false}, func(s snapshot) any { return s.compliant() }},
	"security.certificate.list":        {support{"17", "14", true}, func(snapshot) any { return []any{} }},
	"mdm.app":                          {support{"16", "", false}, func(snapshot) any { return []any{} }},
	"app.managed.list":                 {support{"17.2", "26", false}, func(s snapshot) any { return append([]any{}, s.effects.apps...) }},
	"softwareupdate.beta-enrollment":   {support{"18", "15", false}, func(snapshot) any { return "" }},
	"softwareupdate.device-id":         {support{"18", "15", false}, func(s snapshot) any { return s.spec.Model.Product + "AP" }},
	"softwareupdate.failure-reason":    {support{"17", "14", false}, func(snapshot) any { return map[string]any{"count": 0, "reason": "", "timestamp": ""} }},
	"softwareupdate.install-reason":    {support{"17", "14", false}, snapshot.installReason},
	"softwareupdate.install-state":     {support{"17", "14", false}, snapshot.installState},
	"softwareupdate.pending-version":   {support{"17", "14", false}, snapshot.pendingVersion},
}

// system names a family's operating system.
func (f Family) system() string {
	switch f {
	case Mac:
		return "macOS"
	case IPad:
		return "iPadOS"
	case IPhone:
	}
	return "iOS"
}

// compliant: every policy that is modeled wants no more than a passcode.
func (s snapshot) compliant() bool { return s.passcode || !s.effects.passcode }

func (s snapshot) installReason() any {
	if s.effects.update == nil {
		return map[string]any{"reason": []any{}}
	}
	return map[string]any{"reason": []any{"declaration"}, "declaration-id": s.effects.update.declaration}
}

func (s snapshot) installState() any {
	if s.effects.update == nil {
		return "none"
	}
	return "waiting"
}

func (s snapshot) pendingVersion() any {
	u := s.effects.update
	if u == nil {
		return map[string]any{"os-version": "", "build-version": ""}
	}
	return map[string]any{"os-version": u.version, "build-version": u.build, "target-local-date-time": u.at}
}

// capabilities is management.client-capabilities: all that the tables know of
// this device.
func (s snapshot) capabilities(c Channel) any {
	types := map[string][]string{"activations": {}, "assets": {}, "configurations": {}, "management": {}}
	for _, name := range sortedKeys(declarationTypes) {
		if declarationTypes[name].on(s.spec.Model.Family, s.osVersion, c) {
			key := listOf(kindOf(name))
			types[key] = append(types[key], name)
		}
	}
	items := []string{itemCapabilities, itemDeclarations}
	for _, name := range sortedKeys(statusItems) {
		if statusItems[name].on(s.spec.Model.Family, s.osVersion, c) {
			items = append(items, name)
		}
	}
	return map[string]any{
		"supported-versions": []string{"1.0.0"}, "supported-features": map[string]any{},
		"supported-payloads": map[string]any{"declarations": types, "status-items": items},
	}
}
