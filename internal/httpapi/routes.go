package httpapi

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// route is one operation of the API.
type route struct {
	method     string
	path       string   // ~ stands for each of prefixes
	also       []string // other paths that do the same
	permission Permission
	id         string // of the operation, for generated clients
	tag        string
	summary    string
	bind       binding

	status     int          // of success; 0: 200, or 204 without a body
	bodyBytes  int          // 0: the configured limit
	multipart  bool         // takes files
	form       *huma.Schema // of a form that the handler reads itself, as it comes
	bodiless   bool         // may come without a body
	strict     bool         // an unknown query parameter is an error
	deprecated bool
	file       string       // media type of an answer that is a file
	orJSON     reflect.Type // what an answer that may be a file is otherwise
}

// prefixes are what ~ stands for; the first is the documented one.
func prefixes() [3]string {
	return [3]string{"/api/v1/fleet", "/api/2022-04/fleet", "/api/latest/fleet"}
}

// paths lists every path of the route, the documented one first.
func (rt route) paths() []string {
	var out []string
	for _, path := range append([]string{rt.path}, rt.also...) {
		rest, ok := strings.CutPrefix(path, "~")
		if !ok {
			out = append(out, path)
			continue
		}
		for _, prefix := range prefixes() {
			out = append(out, prefix+rest)
		}
	}
	return out
}

// otherPaths is where register tells API.Handle the paths besides the first.
const otherPaths = "paths"

// register puts the route on every path; only the first is documented. Huma
// works out the types of a route once, which is most of what a start takes.
func (a *api) register(h huma.API, rt route) {
	paths := rt.paths()
	op := huma.Operation{
		Method: rt.method, Path: paths[0], OperationID: rt.id, Tags: []string{rt.tag}, Summary: rt.summary,
		Description: rt.description(), DefaultStatus: rt.status, Deprecated: rt.deprecated,
		MaxBodyBytes: -1, BodyReadTimeout: bodyTimeout, // guard limits the size
		RejectUnknownQueryParameters: rt.strict,
		Middlewares:                  huma.Middlewares{a.guard(rt)},
		Metadata:                     map[string]any{otherPaths: paths[1:]},
	}
	if rt.bodiless {
		op.RequestBody = &huma.RequestBody{}
		request := op.RequestBody
		defer func() { request.Required = false }() // huma has its own mind
	}
	if rt.permission != Open {
		op.Security = []map[string][]string{{"token": {}}}
	}
	if rt.file != "" {
		content := map[string]*huma.MediaType{rt.file: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}
		if rt.orJSON != nil {
			content["application/json"] = &huma.MediaType{Schema: h.OpenAPI().Components.Schemas.Schema(rt.orJSON, true, "")}
		}
		op.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: content}}
	}
	rt.bind(h, op)
	if rt.form != nil {
		documentForm(h.OpenAPI().Paths[op.Path], rt.form)
	}
}

// documentForm says in the document what a handler reads. It is for a copy of
// the operation: huma would want to read the body itself.
func documentForm(at *huma.PathItem, form *huma.Schema) {
	post := *at.Post
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: form}}}
	at.Post = &post
}

func (rt route) description() string {
	text := "Open to anybody."
	if rt.permission != Open {
		text = "Needs the permission " + string(rt.permission) + "."
	}
	if len(rt.also) > 0 {
		text += " Also at " + strings.Join(rt.also, " and ") + "."
	}
	return text
}

// routes is the table of the whole API.
func (a *api) routes() []route {
	var all []route
	for _, group := range []struct {
		tag    string
		routes []route
	}{
		{"Login", a.loginRoutes()},
		{"Users", a.userRoutes()},
		{"Hosts", a.hostRoutes()},
		{"Lock and wipe", a.actionRoutes()},
		{"Teams", a.teamRoutes()},
		{"Labels", a.labelRoutes()},
		{"Profiles", a.profileRoutes()},
		{"Custom variables", a.variableRoutes()},
		{"Commands", a.commandRoutes()},
		{"Plan and explain", a.explainRoutes()},
		{"Enrollment", a.enrollmentRoutes()},
		{"Apple push", a.pushRoutes()},
		{"Automated device enrollment", a.serverTokenRoutes()},
		{"Setup Assistant", a.setupRoutes()},
		{"Bootstrap packages", a.packageRoutes()},
		{"Configuration", a.configRoutes()},
	} {
		for _, rt := range group.routes {
			rt.tag = group.tag
			all = append(all, rt)
		}
	}
	return all
}

func (a *api) loginRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/v1/setup", also: []string{"/api/setup"}, permission: Open, id: "setup",
			summary: "Make the first user", bodyBytes: loginBytes, bind: handle(a.setup)},
		{method: http.MethodPost, path: "~/login", permission: Open, id: "login",
			summary: "Log in", bodyBytes: loginBytes, bind: handle(a.login)},
		{method: http.MethodPost, path: "~/logout", permission: selfWrite, id: "logout",
			summary: "Log out", bind: handle(a.logout)},
		{method: http.MethodGet, path: "~/me", permission: selfRead, id: "me",
			summary: "Show the user behind the token", bind: handle(a.me)},
		{method: http.MethodPost, path: "~/change_password", permission: selfWrite, id: "changePassword",
			summary: "Change one's own password", bodyBytes: loginBytes, bind: handle(a.changePassword)},
		{method: http.MethodPost, path: "~/perform_required_password_reset", permission: selfWrite, id: "performRequiredPasswordReset",
			summary: "Set the new password that an admin required", bodyBytes: loginBytes, bind: handle(a.performRequiredReset)},
	}
}

func (a *api) userRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/users", permission: usersRead, id: "listUsers", strict: true,
			summary: "List users", bind: handle(a.listUsers)},
		{method: http.MethodPost, path: "~/users/admin", also: []string{"~/users"}, permission: usersWrite, id: "createUser",
			summary: "Create a user, or an API-only user with its token", bodyBytes: loginBytes, bind: handle(a.createUser)},
		{method: http.MethodGet, path: "~/users/{id}", permission: usersRead, id: "getUser",
			summary: "Show a user", bind: handle(a.getUser)},
		{method: http.MethodPatch, path: "~/users/{id}", permission: usersWrite, id: "modifyUser",
			summary: "Change a user", bodyBytes: loginBytes, bind: handle(a.modifyUser)},
		{method: http.MethodDelete, path: "~/users/{id}", permission: usersWrite, id: "deleteUser",
			summary: "Delete a user", bind: handle(a.deleteUser)},
		{method: http.MethodPost, path: "~/users/{id}/require_password_reset", permission: usersWrite, id: "requirePasswordReset",
			summary: "Require a new password of a user", bind: handle(a.requireReset)},
		{method: http.MethodGet, path: "~/users/{id}/sessions", permission: usersRead, id: "listUserSessions",
			summary: "List a user's sessions and tokens", bind: handle(a.listUserSessions)},
		{method: http.MethodDelete, path: "~/users/{id}/sessions", permission: usersWrite, id: "deleteUserSessions",
			summary: "End a user's sessions and tokens", bind: handle(a.deleteUserSessions)},
		{method: http.MethodGet, path: "~/sessions/{id}", permission: usersRead, id: "getSession",
			summary: "Show a session", bind: handle(a.getSession)},
		{method: http.MethodDelete, path: "~/sessions/{id}", permission: usersWrite, id: "deleteSession",
			summary: "End a session or token", bind: handle(a.deleteSession)},
	}
}

func (a *api) hostRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/hosts", permission: hostsList, id: "listHosts", strict: true,
			summary: "List hosts", bind: handle(a.listHosts)},
		{method: http.MethodGet, path: "~/hosts/count", permission: hostsList, id: "countHosts", strict: true,
			summary: "Count hosts", bind: handle(a.countHosts)},
		{method: http.MethodGet, path: "~/hosts/{id}", permission: hostsRead, id: "getHost",
			summary: "Show a host", bind: handle(a.getHost)},
		{method: http.MethodGet, path: "~/hosts/identifier/{identifier}", permission: hostsRead, id: "getHostByIdentifier",
			summary: "Show a host by host name, UUID or serial number", bind: handle(a.getHostByIdentifier)},
		{method: http.MethodDelete, path: "~/hosts/{id}", permission: hostsWrite, id: "deleteHost",
			summary: "Delete a host", bind: handle(a.deleteHost)},
		{method: http.MethodGet, path: "~/hosts/{id}/mdm", permission: hostsRead, id: "getHostMDM",
			summary: "Show a host's MDM enrollment", bind: handle(a.getHostMDM)},
		{method: http.MethodPost, path: "~/hosts/{id}/refetch", permission: hostsRead, id: "refetchHost",
			summary: "Ask a host for its vitals, software and certificates", bind: handle(a.refetchHost)},
		{method: http.MethodGet, path: "~/hosts/{id}/software", permission: hostsRead, id: "listHostSoftware", strict: true,
			summary: "List the software of a host", bind: handle(a.hostSoftware)},
		{method: http.MethodGet, path: "~/hosts/{id}/certificates", permission: hostsRead, id: "listHostCertificates", strict: true,
			summary: "List the certificates of a host", bind: handle(a.hostCertificates)},
		{method: http.MethodGet, path: "~/software/versions", permission: hostsList, id: "listSoftwareVersions", strict: true,
			summary: "List the software of all hosts, with the number of hosts that have each version", bind: handle(a.softwareVersions)},
		{method: http.MethodDelete, path: "~/hosts/{id}/mdm", permission: actionsRun, id: "unenrollHost", status: http.StatusNoContent,
			summary: "Turn MDM off on a host", bind: handle(a.unenrollHost)},
		{method: http.MethodPatch, path: "~/mdm/hosts/{id}/unenroll", permission: actionsRun, id: "unenrollHostOld", status: http.StatusNoContent,
			summary: "Turn MDM off on a host", deprecated: true, bind: handle(a.unenrollHost)},
	}
}

func (a *api) commandRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "~/commands/run", also: []string{"~/mdm/commands/run"}, permission: commandsRun, id: "runCommand",
			summary: "Send an MDM command to hosts", bodyBytes: commandBytes, bind: handle(a.runCommand)},
		{method: http.MethodGet, path: "~/commands/results", also: []string{"~/mdm/commandresults"}, permission: commandsRead, id: "getCommandResults",
			summary: "Show what became of a command", bind: handle(a.commandResults)},
		{method: http.MethodGet, path: "~/commands", also: []string{"~/mdm/commands"}, permission: commandsRead, id: "listCommands", strict: true,
			summary: "List commands, newest first", bind: handle(a.listCommands)},
		{method: http.MethodPost, path: "~/mdm/apple/enqueue", permission: commandsRun, id: "enqueueCommand", deprecated: true,
			summary: "Send an MDM command to devices", bodyBytes: commandBytes, bind: handle(a.enqueue)},
		{method: http.MethodGet, path: "~/mdm/apple/commandresults", permission: commandsRead, id: "getDeviceCommandResults", deprecated: true,
			summary: "Show what became of a command, by device", bind: handle(a.deviceCommandResults)},
		{method: http.MethodGet, path: "~/mdm/apple/commands", permission: commandsRead, id: "listDeviceCommands", deprecated: true,
			summary: "List commands by device", bind: handle(a.deviceCommands)},
		{method: http.MethodGet, path: "~/mdm/apple/devices", permission: hostsList, id: "listDevices", strict: true, deprecated: true,
			summary: "List Apple devices", bind: handle(a.devices)},
	}
}

func (a *api) enrollmentRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/enrollment_profiles/manual", also: []string{"~/mdm/manual_enrollment_profile"}, permission: enrollmentsRead,
			id: "downloadManualEnrollmentProfile", summary: "Download the manual enrollment profile; each download enrolls one device", file: mobileconfigType, bind: handle(a.manualProfile)},
		{method: http.MethodGet, path: "~/enrollment_profiles/ota", permission: Open, id: "downloadOTAProfile",
			summary: "Download the profile that begins enrollment over the air, on the device itself", file: mobileconfigType, bind: handle(a.otaProfile)},
		{method: http.MethodPost, path: "~/ota_enrollment", permission: Open, id: "enrollOverTheAir", bodyBytes: otaBytes,
			summary: "Where a device that enrolls over the air tells what it is, signed: first by Apple's certificate, then by one of ours", file: mobileconfigType, bind: handle(a.otaEnroll)},
		{method: http.MethodPost, path: "~/account_driven_enrollments", permission: enrollmentsWrite, id: "inviteAccount",
			summary: "Let the person of a managed Apple account enroll an iPhone or iPad of their own, once", bind: handle(a.inviteAccount)},
		{method: http.MethodGet, path: "~/enrollments", permission: enrollmentsRead, id: "listEnrollments", strict: true,
			summary: "List enrollments", bind: handle(a.listEnrollments)},
		{method: http.MethodPost, path: "~/enrollments", permission: enrollmentsWrite, id: "createEnrollment",
			summary: "Create an enrollment", bind: handle(a.createEnrollment)},
		{method: http.MethodDelete, path: "~/enrollments/{id}", permission: enrollmentsWrite, id: "deleteEnrollment",
			summary: "Delete an enrollment: its URL stops working, enrolled devices stay", bind: handle(a.deleteEnrollment)},
		{method: http.MethodGet, path: "~/enrollments/{id}/profile", permission: enrollmentsRead, id: "downloadEnrollmentProfile",
			summary: "Download an enrollment's profile; each download enrolls one device", file: mobileconfigType, bind: handle(a.enrollmentProfile)},
		{method: http.MethodGet, path: "/mdm/apple/enroll/{token}", permission: Open, id: "enroll",
			summary: "Download an enrollment profile on the device itself", file: mobileconfigType, bind: handle(a.enrollByToken)},
	}
}

func (a *api) pushRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/apns", also: []string{"~/mdm/apple"}, permission: pushRead, id: "getPushCertificate",
			summary: "Show the push certificate", bind: handle(a.getPush)},
		{method: http.MethodGet, path: "~/mdm/apple/request_csr", permission: pushWrite, id: "requestPushCSR",
			summary: "Make a key and a certificate signing request for Apple's push portal", bind: handle(a.requestCSR)},
		{method: http.MethodPost, path: "~/mdm/apple/apns_certificate", permission: pushWrite, id: "uploadPushCertificate", status: http.StatusAccepted,
			summary: "Upload the push certificate, in PEM form or as PKCS#12", bodyBytes: uploadBytes, multipart: true, bind: handle(a.uploadPush)},
		{method: http.MethodDelete, path: "~/mdm/apple/apns_certificate", permission: pushWrite, id: "deletePushCertificate",
			summary: "Delete the push certificate: no device can be woken any more", bind: handle(a.deletePush)},
	}
}

func (a *api) configRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "~/config", permission: configRead, id: "getConfig",
			summary: "Show the configuration", bind: handle(a.getConfig)},
		{method: http.MethodPatch, path: "~/config", permission: configWrite, id: "modifyConfig",
			summary: "Change the configuration; keys that are not sent stay", bind: handle(a.modifyConfig)},
		{method: http.MethodPost, path: "~/hosts/{id}/renew_identity", permission: commandsRun, id: "renewIdentity", status: http.StatusAccepted,
			summary: "Renew the certificate of a host's MDM enrollment now, whenever it expires", bind: handle(a.renewIdentity)},
		{method: http.MethodGet, path: "~/expiring", permission: hostsList, id: "listExpiring", strict: true,
			summary: "List certificates and tokens that expire soon, those of devices included", bind: handle(a.expiring)},
		{method: http.MethodGet, path: "~/version", permission: versionRead, id: "getVersion",
			summary: "Show what is running", bind: handle(a.getVersion)},
		{method: http.MethodGet, path: "/version", permission: Open, id: "version",
			summary: "Show what is running", bind: handle(a.getVersion)},
	}
}
