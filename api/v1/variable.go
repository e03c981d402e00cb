package apiv1

import "time"

// CustomVariable is a secret that profiles name as $FLEET_SECRET_NAME. Its
// value is never shown.
type CustomVariable struct {
	Name      string    `json:"name"`
	UpdatedAt time.Time `json:"updated_at"`
}

// CustomVariablesResponse lists custom variables.
type CustomVariablesResponse struct {
	CustomVariables []CustomVariable `json:"custom_variables" nullable:"false"`
	Count           int              `json:"count"`
	Meta            Meta             `json:"meta"`
}

// SetVariable is a custom variable with its value.
type SetVariable struct {
	Name  string `json:"name" doc:"Upper-case letters, digits and underscores; FLEET_SECRET_ before it is dropped"`
	Value string `json:"value"`
}

// SetVariableResponse answers a SetVariable.
type SetVariableResponse struct {
	Name string `json:"name"`
}

// SetVariablesResponse names the custom variables that changed, or would.
type SetVariablesResponse struct {
	Changed []string `json:"changed" nullable:"false"`
}

// SetVariablesRequest sets custom variables; others stay.
type SetVariablesRequest struct {
	Secrets []SetVariable `json:"secrets" nullable:"false"`
}
