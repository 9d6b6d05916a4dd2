package operations

import (
	"testing"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/deadletter"
	"github.com/waybillhq/waybill/internal/fault"
)

// Whoever may write to a queue chooses what its messages say.
func TestADeadLetterOfARuleInvokesNoOtherFunction(t *testing.T) {
	p := &boot.Platform{Env: func(name string) string {
		return map[string]string{"DOCUMENT_SWEEP": "waybill-sweep", "ORDER_RECONCILE": "waybill-reconcile", "JOB_SCHEDULE": "waybill-schedule", "ALERT_SEND": "waybill-alert"}[name]
	}}
	for _, target := range []string{"", "arn:aws:lambda:us-east-1:1:function:", "arn:aws:lambda:us-east-1:1:function:webhook-receive", "waybill-sweep-2"} {
		err := reschedule(p)(t.Context(), deadletter.Message{Body: "{}", Attributes: map[string]string{"TARGET_ARN": target}})
		if fault.KindOf(err) != fault.Permanent {
			t.Errorf("%q: %v", target, err)
		}
	}
}
