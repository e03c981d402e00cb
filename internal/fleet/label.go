package fleet

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// LabelKind says where a label's members come from. Persisted: append only.
type LabelKind uint8

// Kinds of labels.
const (
	LabelBuiltin LabelKind = 0 // kept by Muster, by platform
	LabelManual  LabelKind = 1 // hosts that people named
	LabelDynamic LabelKind = 2 // hosts whose agent answers a query with rows
	LabelVitals  LabelKind = 3 // hosts whose vitals meet a criterion
)

// String is the API's label_membership_type. The API calls built-in ones
// dynamic.
func (k LabelKind) String() string {
	switch k {
	case LabelManual:
		return "manual"
	case LabelVitals:
		return "host_vitals"
	case LabelBuiltin, LabelDynamic:
	}
	return "dynamic"
}

// Label is a named set of hosts.
type Label struct {
	ID          LabelID
	Name        string
	Description string
	Kind        LabelKind
	Query       string    // LabelDynamic
	Platform    Platform  // LabelDynamic: hosts of other platforms are no members; empty: all
	Criteria    *Criteria // LabelVitals
	HostCount   int       // only where asked for
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// LabelSpec is what a repository says about a label. Hosts are the members of
// a manual one, by serial, UUID or name; nil: they stay.
type LabelSpec struct {
	Label Label
	Hosts *[]string
}

// Builtin reports whether Muster keeps the label.
func (l *Label) Builtin() bool { return l.Kind == LabelBuiltin }

// Absent is the membership of a host that the store has no word about: where
// people or Muster list the members, whoever is not listed is none. An answer
// that has not come yet is unknown.
func (l *Label) Absent(p Platform) Tri {
	switch l.Kind {
	case LabelBuiltin, LabelManual:
		return No
	case LabelDynamic:
		if l.Platform != "" && l.Platform != p {
			return No
		}
	case LabelVitals:
	}
	return Unknown
}

// Membership is what is known of one host in one label.
type Membership struct {
	LabelID LabelID
	Member  Tri
}

// Criteria select hosts by a vital.
type Criteria struct {
	Vital    string // one of VitalNames
	Operator string // =, !=, <, <=, >, >=, contains, starts_with; empty: =
	Value    string
}

// Operators of Criteria.
var criteriaOperators = []string{"=", "!=", "<", "<=", ">", ">=", "contains", "starts_with"}

// CriteriaOperators lists the operators.
func CriteriaOperators() []string { return append([]string(nil), criteriaOperators...) }

// VitalNames lists the vitals that criteria may name.
func VitalNames() []string {
	return []string{"platform", "os_version", "hardware_model", "hardware_serial", "hostname", "computer_name", "supervised",
		"mdm_enrollment_status", "gigs_disk_space_available", "gigs_total_disk_space", "end_user_idp_group", "end_user_idp_department"}
}

// vital returns a host's vital as text; ok is false while it is not known.
func (h *Host) vital(name string) (value string, ok bool) {
	disk := func(gb float64) (string, bool) { return strconv.FormatFloat(gb, 'f', -1, 64), gb >= 0 && h.Known() }
	text := func(v string) (string, bool) { return v, v != "" }
	switch name {
	case "platform":
		return text(string(h.Platform))
	case "os_version":
		return text(h.OSNumber())
	case "hardware_model":
		return text(h.HardwareModel)
	case "hardware_serial":
		return text(h.HardwareSerial)
	case "hostname":
		return text(h.Hostname)
	case "computer_name":
		return text(h.ComputerName)
	case "mdm_enrollment_status":
		return text(h.MDM.Status.String())
	case "gigs_disk_space_available":
		return disk(h.DiskAvailableGB)
	case "gigs_total_disk_space":
		return disk(h.DiskTotalGB)
	case "supervised":
		return strconv.FormatBool(h.Supervised == Yes), h.Supervised != Unknown
	}
	return "", false
}

// Known reports whether the host ever told its vitals.
func (h *Host) Known() bool { return !h.DetailUpdatedAt.IsZero() }

// OSNumber is the version without the system's name: "15.1" of "macOS 15.1".
func (h *Host) OSNumber() string {
	if i := strings.LastIndexByte(h.OSVersion, ' '); i >= 0 {
		return h.OSVersion[i+1:]
	}
	return h.OSVersion
}

// Match tells whether the host meets the criterion: unknown while the vital
// is not known.
func (c Criteria) Match(h *Host) Tri {
	have, ok := h.vital(c.Vital)
	if !ok {
		return Unknown
	}
	switch c.Operator {
	case "", "=":
		return TriOf(strings.EqualFold(have, c.Value))
	case "!=":
		return TriOf(!strings.EqualFold(have, c.Value))
	case "contains":
		return TriOf(strings.Contains(strings.ToLower(have), strings.ToLower(c.Value)))
	case "starts_with":
		return TriOf(strings.HasPrefix(strings.ToLower(have), strings.ToLower(c.Value)))
	}
	order := c.compare(have)
	switch c.Operator {
	case "<":
		return TriOf(order < 0)
	case "<=":
		return TriOf(order <= 0)
	case ">":
		return TriOf(order > 0)
	case ">=":
		return TriOf(order >= 0)
	}
	return Unknown
}

func (c Criteria) compare(have string) int {
	if strings.HasPrefix(c.Vital, "gigs_") {
		a, _ := strconv.ParseFloat(have, 64)
		b, _ := strconv.ParseFloat(c.Value, 64)
		return cmp.Compare(a, b)
	}
	return CompareVersions(have, c.Value)
}

// CompareVersions orders version numbers such as "15", "15.1" and "15.1.2";
// what is missing counts as zero.
func CompareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if order := cmp.Compare(versionPart(x, i), versionPart(y, i)); order != 0 {
			return order
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(parts[i]))
	if err != nil {
		return 0
	}
	return n
}
