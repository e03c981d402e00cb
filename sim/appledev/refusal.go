package appledev

import "errors"

// Error domains and codes that devices report. Apple changes them between
// versions and documents few (contracts/apple.md 1.5): they are like those of
// the field, and nobody may rely on them.
const (
	domainMDM     = "MCMDMErrorDomain"
	domainProfile = "MCProfileErrorDomain"
	domainInstall = "MCInstallationErrorDomain"
	domainMac     = "CPDomain"       // a Mac's profiles
	domainClient  = "MDMClientError" // a Mac's mdmclient
	domainPOSIX   = "NSPOSIXErrorDomain"

	codeUnknownCommand  = 12021
	codeRenewalRejected = 12025
	codeNotAwaiting     = 12067
	codeNotLost         = 12067 // Apple: Disable Lost Mode
	codeNotAuthorized   = 12007
	codeProfileMissing  = 12075
	codeNotSupported    = 12081

	codeProfileInvalid   = 1000 // also for what is no property list
	codeFieldMissing     = 1002
	codeFieldInvalid     = 1003
	codeVersionUnknown   = 1004
	codeDuplicate        = 1005
	codeWrongPlatform    = 1016
	codeInvalidProfile   = 4000
	codeInstallFailed    = 4001
	codeNeedsSupervision = 4025
	codeForeignProfile   = 4023

	codeMacInvalid = 102
	codeMacFailed  = 103
	codeMacMissing = 89
	codeMacForeign = 96
	codeMacScope   = 1
)

// link is one entry of an ErrorChain.
type link struct {
	domain string
	code   int
	text   string
}

// refused is an Error; the first link is what users see, the last the cause.
func refused(chain ...link) *report {
	list := make([]any, 0, len(chain))
	for _, l := range chain {
		list = append(list, map[string]any{
			"ErrorCode": l.code, "ErrorDomain": l.domain, "LocalizedDescription": l.text, "USEnglishDescription": l.text,
		})
	}
	return &report{status: statusError, fields: dict{"ErrorChain": list}}
}

// objection is why a device does not take a profile. mac replaces the chain's
// cause on Macs, whose domains are others.
type objection struct {
	cause link
	mac   link
}

// Error implements error.
func (o *objection) Error() string { return o.cause.text }

// invalid is an objection to a profile's text.
func invalid(code int, text string) *objection {
	return &objection{cause: link{domainProfile, code, text}, mac: link{domainMac, codeMacInvalid, text}}
}

// chain tells an error the way a family does.
func chain(f Family, err error) []link {
	o := new(objection)
	if !errors.As(err, &o) {
		o.cause = link{domainInstall, codeInstallFailed, err.Error()}
		o.mac = link{domainMac, codeMacFailed, err.Error()}
	}
	if f == Mac {
		return []link{o.mac}
	}
	outer := link{domainInstall, codeInvalidProfile, "Invalid Profile"}
	if o.cause.domain != domainProfile {
		outer = link{domainInstall, codeInstallFailed, "The profile could not be installed."}
	}
	return []link{outer, o.cause}
}
