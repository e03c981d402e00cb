package fleet

import "time"

// ArchivedKind says what an archived secret opens. Persisted: append only.
type ArchivedKind uint8

// Kinds of archived secrets.
const (
	ArchivedPIN          ArchivedKind = 1 // of a lock or a wipe
	ArchivedRecoveryLock ArchivedKind = 2 // the Mac confirmed that it has it
	// ArchivedUnconfirmed is a recovery lock password that the Mac was to be
	// given, and may have.
	ArchivedUnconfirmed ArchivedKind = 3
	// ArchivedBypassCode is the Activation Lock bypass code of a host that was
	// deleted.
	ArchivedBypassCode ArchivedKind = 4
)

// String is the API's spelling.
func (k ArchivedKind) String() string {
	switch k {
	case ArchivedPIN:
		return "unlock_pin"
	case ArchivedRecoveryLock:
		return "recovery_lock_password"
	case ArchivedUnconfirmed:
		return "unconfirmed_recovery_lock_password"
	case ArchivedBypassCode:
		return "activation_lock_bypass_code"
	}
	return ""
}

// ArchivedSecret is a secret of a device whose host was deleted or enrolled
// anew.
type ArchivedSecret struct {
	Kind        ArchivedKind
	CommandUUID string // of the command that has it; of a bypass code, the key of the device channel
	DeviceUUID  string
	Serial      string
	ArchivedAt  time.Time
	Value       string // only where it is revealed
}
