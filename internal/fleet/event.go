package fleet

import "time"

// ActorKind says what sort of party did something. Persisted: append only.
type ActorKind uint8

// Kinds of actors.
const (
	ActorSystem ActorKind = 0 // Muster itself
	ActorUser   ActorKind = 1
	ActorToken  ActorKind = 2 // an API-only user
	ActorDevice ActorKind = 3
)

// Actor is who did something.
type Actor struct {
	Kind    ActorKind
	UserID  UserID
	Name    string // user name, or the device's serial
	Email   string
	Address string // network address, without port
}

// EventKind names what happened; past tense, snake case, stable.
type EventKind string

// Kinds of events. Persisted by name: never rename one that has landed.
const (
	EventHostCreated         EventKind = "host_created"
	EventHostDeleted         EventKind = "deleted_host"
	EventHostRenamed         EventKind = "host_renamed"
	EventMDMAuthenticated    EventKind = "mdm_authenticated"
	EventMDMEnrolled         EventKind = "mdm_enrolled"
	EventMDMUnenrolled       EventKind = "mdm_unenrolled"
	EventMDMReset            EventKind = "mdm_reset"
	EventMDMUserEnrolled     EventKind = "mdm_user_channel_enrolled"
	EventTokenUpdated        EventKind = "mdm_token_updated"
	EventBootstrapTokenSet   EventKind = "bootstrap_token_set"
	EventBootstrapTokenGiven EventKind = "bootstrap_token_given"
	EventIdentityIssued      EventKind = "identity_issued"
	EventIdentityRenewed     EventKind = "identity_renewed"
	EventRenewalFailed       EventKind = "identity_renewal_failed"
	EventExpiryWarning       EventKind = "expiry_warning"
	EventCommandEnqueued     EventKind = "mdm_command_enqueued"
	EventCommandAnswered     EventKind = "mdm_command_answered"
	EventCommandCancelled    EventKind = "mdm_command_cancelled"
	EventVitalsReceived      EventKind = "vitals_received"
	EventHostRefetch         EventKind = "refetched_host"
	EventPushBroken          EventKind = "push_broken"
	EventUserLoggedIn        EventKind = "user_logged_in"
	EventUserLoginFailed     EventKind = "user_failed_login"
	EventUserCreated         EventKind = "created_user"
	EventUserChanged         EventKind = "edited_user"
	EventUserDeleted         EventKind = "deleted_user"
	EventConfigChanged       EventKind = "edited_app_config"
	EventPushCertChanged     EventKind = "apns_certificate_changed"
	EventPushCertDeleted     EventKind = "apns_certificate_deleted"
	EventProfileCreated      EventKind = "created_enrollment_profile"
	EventProfileDeleted      EventKind = "deleted_enrollment_profile"
	EventProfileDownloaded   EventKind = "enrollment_profile_downloaded"
	EventKeysRotated         EventKind = "keys_rotated"
	EventTeamCreated         EventKind = "created_team"
	EventTeamChanged         EventKind = "edited_team"
	EventTeamDeleted         EventKind = "deleted_team"
	EventHostsTransferred    EventKind = "transferred_hosts"
	EventHostTransferred     EventKind = "host_transferred"
	EventLabelCreated        EventKind = "created_label"
	EventLabelChanged        EventKind = "edited_label"
	EventLabelDeleted        EventKind = "deleted_label"
	EventHostLabels          EventKind = "host_labels_changed"
	EventItemCreated         EventKind = "created_configuration_profile"
	EventItemChanged         EventKind = "edited_configuration_profile"
	EventItemDeleted         EventKind = "deleted_configuration_profile"
	EventItemResent          EventKind = "resent_configuration_profile"
	EventItemsResent         EventKind = "resent_configuration_profile_batch"
	EventRolloutChanged      EventKind = "rollout_changed"
	EventVariableSet         EventKind = "set_custom_variable"
	EventVariableDeleted     EventKind = "deleted_custom_variable"
	EventEnrollSecretsSet    EventKind = "edited_enroll_secrets"
	// EventHostItems lists every item of a host whose status changed.
	EventHostItems EventKind = "host_items_changed"
	// EventDeclarationStatus is a status report of declarative management.
	EventDeclarationStatus EventKind = "declaration_status"
	// EventSerialInUse says that a device enrolled with the serial number of
	// another host, without a proof that it is that one.
	EventSerialInUse EventKind = "enrolled_with_known_serial"
	// EventUpdateGivenUp says that a device came in though it is older than its
	// team wants: it was told to update itself often enough.
	EventUpdateGivenUp EventKind = "enrolled_below_minimum_version"
	// EventRenewalAsked says that somebody had an identity renewed early.
	EventRenewalAsked EventKind = "identity_renewal_asked"
	// EventDEPSync says that syncing with Apple's device enrollment service
	// began to fail, fails otherwise, or works again.
	EventDEPSync EventKind = "dep_sync_changed"
	// EventDEPDevice says that a device was assigned to this server at Apple
	// or taken from it.
	EventDEPDevice EventKind = "dep_device_changed"
	// EventDEPAssigned counts the results of one call that assigns an
	// enrollment profile.
	EventDEPAssigned EventKind = "dep_profile_assigned"
	// EventServerToken says that somebody added, renewed, changed or deleted a
	// server token.
	EventServerToken EventKind = "server_token_changed"
	// EventSetupAssistant says that somebody changed a team's enrollment profile
	// for Setup Assistant, or that Apple refuses it.
	EventSetupAssistant EventKind = "setup_assistant_changed"
	// A device in Setup Assistant was let go, was let go because it took too
	// long, waits for a person, or went on.
	// EventAccountInvited says that a token for enrolling with an account was
	// made.
	EventAccountInvited EventKind = "account_enrollment_created"

	EventPackageAdded   EventKind = "added_bootstrap_package"
	EventPackageDeleted EventKind = "deleted_bootstrap_package"

	EventSetupReleased EventKind = "setup_released"
	EventSetupTimedOut EventKind = "setup_timed_out"
	EventSetupHeld     EventKind = "setup_held"
	EventSetupDone     EventKind = "setup_done"
	// Requests of actions, by people.
	EventHostLocked      EventKind = "locked_host"
	EventHostUnlocked    EventKind = "unlocked_host"
	EventHostWiped       EventKind = "wiped_host"
	EventPasscodeCleared EventKind = "cleared_passcode"
	EventHostActed       EventKind = "asked_host" // for a sound, its location, another recovery lock or its bypass code
	// EventHostSecretViewed says that somebody saw a PIN, password or code.
	EventHostSecretViewed EventKind = "viewed_host_secret"
	// EventActionAnswered is what the device made of an action.
	EventActionAnswered EventKind = "host_action_answered"
	// EventActionHeld, EventActionDecided and EventBrake are about the brake:
	// an action waits, somebody or the time decided about it, one was refused.
	EventActionHeld    EventKind = "held_host_action"
	EventActionDecided EventKind = "decided_host_action"
	EventBrake         EventKind = "brake_refused"
)

// Event is one entry of the append-only log, written in the transaction that
// changes what it speaks of.
type Event struct {
	ID           EventID
	At           time.Time
	Kind         EventKind
	Actor        Actor
	HostID       HostID
	EnrollmentID EnrollmentID
	CommandID    CommandID
	// Details is a JSON object of plain facts; never secrets.
	Details []byte
}
