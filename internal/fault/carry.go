package fault

import (
	"encoding/json"
	"time"
)

// carried is a fault between processes: a state task hands it to the task that
// rests its document.
type carried struct {
	Kind       Kind    `json:"kind"`
	Class      Class   `json:"class"`
	Field      string  `json:"field,omitempty"`
	Value      string  `json:"value,omitempty"`
	Message    string  `json:"message"`
	RetryAfter float64 `json:"retry_after_seconds,omitempty"`
	Unknown    bool    `json:"outcome_unknown,omitempty"`
}

// Encode writes err for another process. An unmarked error becomes a Retryable
// one of class internal.
func Encode(err error) string {
	c := carried{Kind: Retryable, Class: Internal, Message: err.Error()}
	if f := Of(err); f != nil {
		bare := Error{Message: f.Message, Cause: f.Cause}
		c = carried{f.Kind, f.Class, f.Field, f.Value, bare.Error(), f.RetryAfter.Seconds(), f.Unknown}
	}
	b, merr := json.Marshal(c)
	if merr != nil {
		return `{"kind":"Retryable","class":"internal","message":"the failure cannot be written as JSON"}`
	}
	return string(b)
}

// Decode reads what Encode wrote; anything else is a Retryable internal fault
// with the text as its message.
func Decode(s string) *Error {
	var c carried
	if err := json.Unmarshal([]byte(s), &c); err != nil || c.Kind == "" {
		return New(Retryable, Internal, "%s", s)
	}
	return &Error{Kind: c.Kind, Class: c.Class, Field: c.Field, Value: c.Value, Message: c.Message,
		RetryAfter: time.Duration(c.RetryAfter * float64(time.Second)), Unknown: c.Unknown}
}
