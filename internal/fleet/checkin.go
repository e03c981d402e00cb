package fleet

// Authenticate is the first message of an enrollment (contracts/apple.md
// 1.4). Fields that the device did not send are empty.
type Authenticate struct {
	Key         EnrollmentKey
	Topic       string
	UDID        string // empty for user enrollments
	Serial      string
	Model       string // a Mac's model identifier
	ProductName string // "iPhone15,2"
	ModelName   string
	DeviceName  string
	OSVersion   string
	Build       string
}

// HardwareModel is the identifier the platform is derived from.
func (a Authenticate) HardwareModel() string {
	if a.ProductName != "" {
		return a.ProductName
	}
	return a.Model
}

// TokenUpdate carries what pushes need. UnlockToken is a secret.
type TokenUpdate struct {
	Key                   EnrollmentKey
	Topic                 string
	PushMagic             string
	PushToken             []byte
	UnlockToken           []byte // nil: not sent; the stored one stays
	AwaitingConfiguration bool
	UserShortName         string
	UserLongName          string
}
