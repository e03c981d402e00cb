package apiv1

// Error is the body of every answer with a status of 400 or more.
type Error struct {
	Message string       `json:"message" doc:"What went wrong, by the status"`
	Errors  []FieldError `json:"errors" nullable:"false" doc:"Every fault that was found"`
	UUID    string       `json:"uuid,omitempty" doc:"Identifies the request in the server's log"`
}

// FieldError is one fault.
type FieldError struct {
	Name   string `json:"name" doc:"The input at fault; base when it is none in particular"`
	Reason string `json:"reason" doc:"What is wrong and what to do"`
}

// Empty is an answer without content: {}.
type Empty struct{}

// Meta tells whether a list goes on.
type Meta struct {
	HasNextResults     bool `json:"has_next_results"`
	HasPreviousResults bool `json:"has_previous_results"`
}
