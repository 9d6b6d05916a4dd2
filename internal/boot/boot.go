// Package boot wires a Lambda function: environment and AWS configuration are
// read once, and what a function does not ask for is never made.
package boot

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/google/uuid"

	"github.com/waybillhq/waybill/internal/blob"
	"github.com/waybillhq/waybill/internal/connector/catalog"
	"github.com/waybillhq/waybill/internal/credential"
	"github.com/waybillhq/waybill/internal/document"
	"github.com/waybillhq/waybill/internal/dynamo"
	"github.com/waybillhq/waybill/internal/effect"
	"github.com/waybillhq/waybill/internal/egress"
	"github.com/waybillhq/waybill/internal/flow/order"
	"github.com/waybillhq/waybill/internal/flow/shipment"
	"github.com/waybillhq/waybill/internal/hook"
	"github.com/waybillhq/waybill/internal/inbox"
	"github.com/waybillhq/waybill/internal/mapping"
	"github.com/waybillhq/waybill/internal/meter"
	"github.com/waybillhq/waybill/internal/queue"
	"github.com/waybillhq/waybill/internal/rate"
	"github.com/waybillhq/waybill/internal/stepfn"
	"github.com/waybillhq/waybill/internal/tenancy"
)

// Platform is one function's view of the stack.
type Platform struct {
	AWS    aws.Config
	Log    *slog.Logger
	Store  *dynamo.Store
	Queues queue.Queues
	Env    func(string) string
	// Meter counts what the clients of this function ask.
	Meter *meter.Meter

	connect     sync.Once
	evaluate    sync.Once
	govern      sync.Once
	governor    *rate.Governor
	connections *Connections
}

// New reads the environment. It makes no network call.
func New() *Platform {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	cfg, err := configuration(os.Getenv)
	if err != nil {
		log.Error("reading the AWS configuration", "error", err)
		os.Exit(1)
	}
	return For(cfg, os.Getenv, log)
}

// For is New for a given configuration.
func For(cfg aws.Config, env func(string) string, log *slog.Logger) *Platform {
	m := &meter.Meter{}
	cfg.APIOptions = m.Attach(cfg.APIOptions)
	return &Platform{AWS: cfg, Log: log, Env: env, Meter: m, Queues: queue.Queues{Client: sqs.NewFromConfig(cfg)},
		Store: dynamo.New(cfg, dynamo.Tables{
			Jobs: env("JOBS_TABLE"),

			Documents: env("DOCUMENTS_TABLE"), Inventory: env("INVENTORY_TABLE"), Inbox: env("INBOX_TABLE"),
			Exceptions: env("EXCEPTIONS_TABLE"), Audit: env("AUDIT_TABLE"), Person: env("PERSON_TABLE"), Config: env("CONFIG_TABLE"), Credentials: env("CREDENTIALS_TABLE"), Rates: env("RATES_TABLE"),
		})}
}

// NewID returns a new UUIDv7: unique, and in order of time.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// Life moves documents.
func (p *Platform) Life() document.Life {
	return document.Life{Store: p.Store, Now: time.Now, NewID: NewID, Jitter: func(d time.Duration) time.Duration {
		if d <= 0 {
			return 0
		}
		return rand.N(d)
	}}
}

// Effects is the ledger of writes to vendors.
func (p *Platform) Effects() *effect.Ledger {
	return &effect.Ledger{Store: p.Store, Now: time.Now, NewID: NewID}
}

// Payloads is the raw bucket.
func (p *Platform) Payloads() blob.Bucket {
	// Path style works with every bucket name and with every endpoint.
	return blob.Bucket{Client: s3.NewFromConfig(p.AWS, func(o *s3.Options) { o.UsePathStyle = true }), Name: p.Env("RAW_BUCKET")}
}

// Sealer opens credentials.
func (p *Platform) Sealer() credential.Sealer {
	return credential.Sealer{KMS: kms.NewFromConfig(p.AWS), Key: p.Env("KEY_ARN")}
}

// Machines starts state machines.
func (p *Platform) Machines() stepfn.Machines {
	return stepfn.Machines{Client: sfn.NewFromConfig(p.AWS), ARNs: map[string]string{
		document.Order: p.Env("FULFILLMENT_MACHINE"), document.Shipment: p.Env("SHIPMENT_MACHINE"),
	}}
}

// Rates is this instance's share in what may be asked of connections.
func (p *Platform) Rates() *rate.Governor {
	p.govern.Do(func() {
		p.governor = &rate.Governor{Store: p.Store, Now: time.Now, NewID: NewID, Sleep: smithytime.SleepWithContext}
	})
	return p.governor
}

// Share caps what one retailer may take of a function's instances.
func (p *Platform) Share(function string) *rate.Share {
	return &rate.Share{Store: p.Store, Now: time.Now, NewID: NewID, Function: function, Cap: p.inFlight()}
}

// inFlight is how many instances of a function work for one retailer at a time.
func (p *Platform) inFlight() int {
	s := p.Env("FAIR_SHARE")
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		p.Log.Error("FAIR_SHARE is no number of instances", "value", s)
		os.Exit(1)
	}
	return n
}

// Connections opens tenants' connections. All parts of a function share one,
// so that each configuration and credential is read once.
func (p *Platform) Connections() *Connections {
	p.connect.Do(func() {
		p.connections = &Connections{Store: p.Store, Sealer: p.Sealer(), Client: p.Egress().Counting(p.Meter.Vendor), Rates: p.Rates(), Now: time.Now}
		p.connections.Maps = &mapping.Reader{Store: p.Store, Now: time.Now}
	})
	return p.connections
}

// Overriding is Connections for what translates documents. The evaluator of
// overrides is a third of an archive, and whoever only lists and looks up goes
// without.
func (p *Platform) Overriding() *Connections {
	c := p.Connections()
	p.evaluate.Do(func() { c.Overrides = evaluator{} })
	return c
}

// Egress is the client for what is not AWS.
func (p *Platform) Egress() *egress.Client { return egress.New(time.Now, p.privateNetworks()...) }

// privateNetworks are the prefixes that vendors' addresses may lie in although
// they are not public.
func (p *Platform) privateNetworks() (allow []netip.Prefix) {
	for s := range strings.SplitSeq(p.Env("EGRESS_ALLOW"), ",") {
		if s == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			p.Log.Error("EGRESS_ALLOW is not a list of prefixes", "value", s)
			os.Exit(1)
		}
		allow = append(allow, prefix)
	}
	return allow
}

// Receiver acknowledges webhooks.
func (p *Platform) Receiver() *hook.Receiver {
	sealer, payloads := p.Sealer(), p.Payloads()
	return &hook.Receiver{
		Hook: p.Store.Hook, Put: payloads.Put, Enqueue: p.Enqueue, Now: time.Now,
		Open: func(h tenancy.Hook) (any, error) { return catalog.Open(h.Connector, h.Settings, nil, nil, time.Now) },
		Secrets: func(ctx context.Context, h tenancy.Hook) (secrets []string, err error) {
			err = sealer.Open(ctx, h.Tenant, h.Connection, h.Sealed, &secrets)
			return secrets, err
		},
	}
}

// Enqueue sends a delivery to its flow's inbox queue.
func (p *Platform) Enqueue(ctx context.Context, flow string, m inbox.Message) (known bool, err error) {
	url := map[string]string{"order": p.Env("ORDER_QUEUE"), "shipment": p.Env("SHIPMENT_QUEUE")}[flow]
	if url == "" {
		return false, nil
	}
	return true, p.Queues.Send(ctx, url, m.Tenant.String(), m, 0)
}

// Hand passes what a poller found to a flow's intake; a large body goes to the
// bucket first.
func (p *Platform) Hand(flow string) func(ctx context.Context, m inbox.Message) error {
	payloads, connections := p.Payloads(), p.Connections()
	return func(ctx context.Context, m inbox.Message) error {
		if m.Connector == "" {
			r, err := connections.Retailer(ctx, m.Tenant)
			if err != nil {
				return err
			}
			c, _ := r.Connection(m.Connection)
			m.Connector = c.Connector
		}
		body, err := m.Payload(ctx, payloads)
		if err != nil {
			return err
		}
		if m, err = m.Carry(ctx, body, payloads.Put); err != nil {
			return err
		}
		_, err = p.Enqueue(ctx, flow, m)
		return err
	}
}

// Reconciler finds unannounced orders.
func (p *Platform) Reconciler() order.Reconciler {
	return order.Reconciler{Store: p.Store, Connections: p.Connections(), Watermarks: p.Store, Enqueue: p.Hand("order"), Listener: p.listener(), Now: time.Now}
}

// Follower finds unannounced parcels.
func (p *Platform) Follower() shipment.Follower {
	return shipment.Follower{Life: p.Life(), Effects: p.Store, Connections: p.Connections(), Enqueue: p.Hand("shipment")}
}

// Order is the intake of orders.
func (p *Platform) Order() order.Intake {
	return order.Intake{Life: p.Life(), Inbox: p.Store, Payloads: p.Payloads(), Connections: p.Overriding(), Start: p.Machines().Start}
}

// Fulfillment is the order's phase.
func (p *Platform) Fulfillment() order.Fulfillment {
	return order.Fulfillment{Life: p.Life(), Effects: p.Effects(), Stock: p.Store, Payloads: p.Payloads(), Connections: p.Overriding()}
}

// Shipment is the intake of shipments.
func (p *Platform) Shipment() shipment.Intake {
	return shipment.Intake{Life: p.Life(), Inbox: p.Store, Payloads: p.Payloads(), Connections: p.Overriding(), Start: p.Machines().Start}
}

// ShipmentPhase is the shipment's phase.
func (p *Platform) ShipmentPhase() shipment.Phase {
	return shipment.Phase{Life: p.Life(), Effects: p.Effects(), Stock: p.Store, Connections: p.Overriding()}
}

// Must ends the function's start with a reason.
func (p *Platform) Must(names ...string) *Platform {
	for _, n := range names {
		if p.Env(n) == "" {
			p.Log.Error(fmt.Sprintf("the environment variable %s is not set", n))
			os.Exit(1)
		}
	}
	return p
}
